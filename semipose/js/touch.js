// A figure that answers to a hand. The kernel draws the picture and says which places of it mean something
// (`semipose.touch`); hovering, choosing by keyboard and dragging are drawn here, on a canvas over the picture,
// without asking the kernel.
// Python puts GIVEN before this text (colours).

const clamp = (v, lo, hi) => Math.min(Math.max(v, lo), hi);

const STYLE = `
.semipose-touch { position:relative; display:inline-block; max-width:100%; line-height:0; vertical-align:top;
  --focus:#3465c8 }
.semipose-touch img { display:block; max-width:100%; max-height:max(60vh,300px); width:auto;
  height:auto; -webkit-user-drag:none; user-select:none }
.semipose-touch canvas { position:absolute; inset:0; width:100%; height:100%; touch-action:pan-y; border-radius:3px }
.semipose-touch canvas.drags { touch-action:none }
.semipose-touch canvas:focus-visible { outline:3px solid var(--focus); outline-offset:2px }
.semipose-lab :focus-visible { outline:3px solid #3465c8 !important; outline-offset:1px }
.semipose-touch .told { position:absolute; width:1px; height:1px; overflow:hidden; clip-path:inset(50%) }
.semipose-touch .busy { position:absolute; right:6px; top:6px; padding:.25rem .7rem; border-radius:1rem;
  background:#1b1f24; color:#fff;
  font:600 13px/1.4 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif }
.semipose-touch .busy[hidden] { display:none }
`;

const make = (tag, props = {}, ...kids) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) k in e ? e[k] = v : e.setAttribute(k, v);
  e.append(...kids);
  return e;
};

// Places, in shares of the picture: {id, kind, at, label, click}
//   area {at: [left, top, right, bottom]}; point {at: [x, y]}
//   heat {at: as an area; shape: [h, w]; from: first of its values; size: [H, W] of the crop; stride}
//   frame {at: [[x, y] * 4 corners]; scale: crop px per share, [x, y]; now: {turn, zoom, right, down}}
class Figure {
  constructor(model, el) {
    Object.assign(this, { model, el, over: null, pixel: null, pulled: null, spent: [], asked: model.get('answered') });
    this.img = make('img', { alt: '', draggable: false });
    this.canvas = make('canvas', { tabIndex: 0, role: 'application' });
    this.told = make('div', { className: 'told', role: 'status', ariaLive: 'polite' });
    this.busy = make('div', { className: 'busy', role: 'status', hidden: true });
    this.root = make('div', { className: 'semipose-touch' }, make('style', { textContent: STYLE }),
      this.img, this.canvas, this.told, this.busy);
    this.canvas.setAttribute('data-lm-suppress-shortcuts', 'true');      // keys here are not JupyterLab's
    el.append(this.root);
    this.watch();
    this.renew();
    this.alive();
  }

  // -- what the kernel has drawn --
  renew() {
    const { model } = this, png = model.get('value'), floats = model.get('floats');
    const bytes = d => (d?.byteLength ? new Uint8Array(d.buffer ?? d, d.byteOffset ?? 0, d.byteLength) : null);
    const picture = bytes(png), values = bytes(floats);
    if (picture && png !== this.png) {
      const old = this.img.src;
      this.img.src = URL.createObjectURL(new Blob([picture], { type: 'image/png' }));
      if (old) setTimeout(() => URL.revokeObjectURL(old), 2000);
      this.png = png;
    }
    this.values = values ? new Float32Array(values.slice().buffer) : new Float32Array(0);
    this.spots = model.get('spots') || [];
    this.img.alt = model.get('words') || '';
    const clicks = this.spots.filter(s => s.click).length, heats = this.spots.some(s => s.kind === 'heat');
    const frame = this.spots.some(s => s.kind === 'frame');
    this.canvas.setAttribute('aria-label', [model.get('words'),
      clicks || heats || frame ? 'n and p go from place to place' : '', heats ? 'arrows move over a heatmap' : '',
      clicks ? 'Enter chooses' : '', frame ? 'arrows move the frame, plus and minus resize it, brackets turn it' : '',
    ].filter(Boolean).join('. '));
    this.canvas.classList.toggle('drags', frame);
    if (this.over) this.over = this.spots.find(s => s.id === this.over.id) || null;
    if (this.over?.kind !== 'heat') this.pixel = null;
    this.pulled = this.held ? this.pulled : null;
    this.show();
  }
  alive() {                                   // a kernel at work answers later; quick cells are not worth a word
    const words = this.model.get('status') || '';
    clearTimeout(this.later);
    if (!words) { this.busy.hidden = true; return; }
    this.busy.textContent = words;
    this.later = setTimeout(() => { this.busy.hidden = false; }, this.busy.hidden ? 600 : 0);
  }
  get answered() { return this.model.get('answered') >= this.asked; }
  ask(what) { this.model.send({ ...what, n: ++this.asked }); }
  next() { if (this.held && this.waits && this.answered) this.pull(...this.waits); }

  // -- geometry --
  get width() { return this.canvas.clientWidth; }
  get height() { return this.canvas.clientHeight; }
  px([x, y]) { return [x * this.width, y * this.height]; }
  place(e) { const b = this.canvas.getBoundingClientRect(); return [e.clientX - b.left, e.clientY - b.top]; }
  inside(s, x, y) {
    const [l, t, r, b] = s.at, u = x / this.width, v = y / this.height;
    return u >= l && u <= r && v >= t && v <= b;
  }
  find(x, y) {                                // points before areas, areas before heatmaps
    let near = null, best = 12;
    for (const s of this.spots) if (s.kind === 'point') {
      const [a, b] = this.px(s.at), d = Math.hypot(a - x, b - y);
      if (d < best) { near = s; best = d; }
    }
    if (near) return near;
    const hit = k => this.spots.find(s => s.kind === k && this.inside(s, x, y));
    return hit('area') || hit('heat') || null;
  }
  pixelAt(s, x, y) {                          // heatmap pixel i lies at crop pixel stride*i
    const [l, t, r, b] = s.at, [H, W] = s.size, [h, w] = s.shape;
    const cx = (x / this.width - l) / (r - l) * W - 0.5, cy = (y / this.height - t) / (b - t) * H - 0.5;
    return [clamp(Math.round(cx / s.stride), 0, w - 1), clamp(Math.round(cy / s.stride), 0, h - 1)];
  }
  words(s, pixel) {
    if (s.kind !== 'heat') return [s.label];
    if (!pixel) return [s.label];
    const [i, j] = pixel, v = this.values[s.from + j * s.shape[1] + i], c = k => +(k * s.stride).toFixed(1);
    const shown = Math.abs(v) >= 0.01 || v === 0 ? v.toFixed(3) : v.toExponential(2);
    return [`${shown}  ${s.label}`, `heatmap px (${i}, ${j}), crop px (${c(i)}, ${c(j)})`];
  }

  // -- the frame of a view --
  frame() { return this.spots.find(s => s.kind === 'frame'); }
  corners(s) {
    const at = s.at.map(c => this.px(c)), p = this.pulled;
    if (!p) return at;
    const [cx, cy] = this.middle(at), a = p.turn * Math.PI / 180, k = p.zoom;
    return at.map(([x, y]) => [cx + p.right + k * (Math.cos(a) * (x - cx) + Math.sin(a) * (y - cy)),
      cy + p.down + k * (Math.cos(a) * (y - cy) - Math.sin(a) * (x - cx))]);
  }
  middle(at) { return [0, 1].map(i => at.reduce((s, c) => s + c[i], 0) / at.length); }
  knob(at) {                                  // the handle to turn it: beyond the middle of its upper side
    const [cx, cy] = this.middle(at), mx = (at[0][0] + at[1][0]) / 2, my = (at[0][1] + at[1][1]) / 2;
    const d = Math.max(Math.hypot(mx - cx, my - cy), 1), by = 1 + 18 / d;
    return this.near([cx + (mx - cx) * by, cy + (my - cy) * by], 18);
  }
  near([x, y], rim = 0) {                     // what is outside the picture stands at its edge, within reach
    const [l, t, r, b] = this.frame().within, W = this.width, H = this.height;
    return [clamp(x, l * W + 4 - rim, r * W - 4 + rim), clamp(y, t * H + 4 - rim, b * H - 4 + rim)];
  }
  grip(x, y) {
    const s = this.frame();
    if (!s) return null;
    const at = this.corners(s), near = ([a, b], r) => Math.hypot(a - x, b - y) < r;
    if (near(this.knob(at), 13)) return 'turn';
    if (at.some(c => near(this.near(c), 11))) return 'zoom';
    let inside = false;
    for (let i = 0, j = 3; i < 4; j = i++) {
      const [xi, yi] = at[i], [xj, yj] = at[j];
      if (yi > y !== yj > y && x < (xj - xi) * (y - yi) / (yj - yi) + xi) inside = !inside;
    }
    return inside && this.inside({ at: s.within }, x, y) ? 'move' : null;
  }
  pull(x, y) {
    const s = this.held.spot, [x0, y0] = this.held.from, at = s.at.map(c => this.px(c)), [cx, cy] = this.middle(at);
    const p = { turn: 0, zoom: 1, right: 0, down: 0 };
    if (this.held.how === 'move') { p.right = x - x0; p.down = y - y0; }
    else if (this.held.how === 'zoom') {
      p.zoom = clamp(Math.hypot(x - cx, y - cy) / Math.max(Math.hypot(x0 - cx, y0 - cy), 1), 0.3, 3);
    }
    else p.turn = (Math.atan2(y0 - cy, x0 - cx) - Math.atan2(y - cy, x - cx)) * 180 / Math.PI;
    this.pulled = p;
    this.show();
    this.waits = null;
    if (!this.answered) { this.waits = [x, y]; return; }      // one picture at a time: the kernel draws the latest
    this.send(s, p);
  }
  send(s, p) {
    const { now, scale } = s, turn = ((now.turn + p.turn + 540) % 360) - 180;
    this.ask({ do: 'frame', id: s.id, turn, zoom: now.zoom * p.zoom,
      right: now.right + p.right / this.width * scale[0], down: now.down + p.down / this.height * scale[1] });
  }

  // -- drawing --
  show() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = null; this.paint(); });
  }
  paint() {
    const begin = performance.now(), { width, height, canvas } = this, dpr = window.devicePixelRatio || 1;
    if (!width) return;
    const w = Math.round(width * dpr), h = Math.round(height * dpr);
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    const c = canvas.getContext('2d');
    c.setTransform(dpr, 0, 0, dpr, 0, 0);
    c.clearRect(0, 0, width, height);
    c.lineJoin = 'round';
    const f = this.frame();
    if (f) this.paintFrame(c, f);
    const s = this.over;
    if (s && s.kind !== 'frame') {
      if (s.kind === 'heat') { if (this.pixel) this.paintPixel(c, s); else this.ring(c, s.at); }
      else if (s.kind === 'area') this.ring(c, s.at);
      else {
        const [x, y] = this.px(s.at);
        for (const [color, wide] of [['#fff', 5], [GIVEN.mark, 2.5]]) {
          c.beginPath(); c.arc(x, y, 9, 0, 2 * Math.PI); c.strokeStyle = color; c.lineWidth = wide; c.stroke();
        }
      }
      const near = s.kind === 'point' ? this.px(s.at) : this.pointer || this.px([s.at[0], s.at[3]]);
      this.tip(c, this.words(s, this.pixel), near);
    }
    this.spent.push(performance.now() - begin);
    if (this.spent.length > 600) this.spent.shift();
  }
  ring(c, [l, t, r, b]) {
    const [x, y] = this.px([l, t]), [x1, y1] = this.px([r, b]);
    for (const [color, wide] of [['#fff', 5], [GIVEN.mark, 2.5]]) {
      c.strokeStyle = color; c.lineWidth = wide; c.strokeRect(x + 1.5, y + 1.5, x1 - x - 3, y1 - y - 3);
    }
  }
  paintPixel(c, s) {
    const [l, t, r, b] = s.at, [H, W] = s.size, [i, j] = this.pixel, W1 = this.width, H1 = this.height;
    const x = v => clamp(l + (v + 0.5) / W * (r - l), l, r) * W1;
    const y = v => clamp(t + (v + 0.5) / H * (b - t), t, b) * H1;
    const box = [x((i - 0.5) * s.stride), y((j - 0.5) * s.stride), x((i + 0.5) * s.stride), y((j + 0.5) * s.stride)];
    for (const [color, wide] of [['#000', 4], ['#fff', 2]]) {
      c.strokeStyle = color; c.lineWidth = wide; c.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    }
    this.pointer = [box[2], box[3]];
  }
  paintFrame(c, s) {
    const [l, t, r, b] = s.within, at = this.corners(s), on = this.held || this.over === s || this.grips;
    const knob = this.knob(at), top = [(at[0][0] + at[1][0]) / 2, (at[0][1] + at[1][1]) / 2];
    for (const [color, wide] of [['#000', on ? 5 : 4], [GIVEN.frame, on ? 3 : 2]]) {
      c.strokeStyle = color; c.lineWidth = wide;
      c.save();
      c.beginPath();
      c.rect(l * this.width, t * this.height, (r - l) * this.width, (b - t) * this.height);
      c.clip();
      c.beginPath(); at.forEach(([x, y], i) => i ? c.lineTo(x, y) : c.moveTo(x, y)); c.closePath(); c.stroke();
      c.restore();
      c.beginPath(); c.moveTo(...top); c.lineTo(...knob); c.stroke();
    }
    c.fillStyle = GIVEN.frame; c.strokeStyle = '#000'; c.lineWidth = 1.5;
    for (const [x, y] of at.map(p => this.near(p))) {
      c.fillRect(x - 4, y - 4, 8, 8);
      c.strokeRect(x - 4, y - 4, 8, 8);
    }
    c.beginPath(); c.arc(...knob, 7, 0, 2 * Math.PI); c.fill(); c.stroke();
    if (this.over === s || this.grips) {
      const how = this.held?.how || this.grips;
      const does = { turn: 'turn', zoom: 'resize', move: 'move' }[how];
      this.tip(c, [how ? `drag: ${does} the student's view` : s.label], knob);
    }
  }
  tip(c, lines, [x, y]) {
    c.font = '13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';
    const wide = Math.max(...lines.map(v => c.measureText(v).width)) + 16, high = 18 * lines.length + 8;
    const left = clamp(x + 14, 2, Math.max(this.width - wide - 2, 2)), under = y + 12 + high < this.height;
    const top = under ? y + 12 : Math.max(y - high - 10, 2);
    c.fillStyle = 'rgba(27,31,36,.93)';
    c.beginPath(); c.roundRect(left, top, wide, high, 5); c.fill();
    c.fillStyle = '#fff'; c.textAlign = 'left'; c.textBaseline = 'alphabetic';
    lines.forEach((v, i) => c.fillText(v, left + 8, top + 17 + 18 * i));
  }

  // -- hands --
  choose(s) { if (s?.click) this.ask({ do: 'click', id: s.id }); }
  watch() {
    const { canvas } = this;
    canvas.onpointermove = e => {
      const [x, y] = this.pointer = this.place(e);
      if (this.held) return this.pull(x, y);
      this.grips = this.grip(x, y);
      const s = this.grips && this.grips !== 'move' ? null : this.find(x, y);
      this.over = s && (s.click || s.kind === 'heat' || !this.grips) ? s : null;
      if (this.over) this.grips = null;
      this.pixel = this.over?.kind === 'heat' ? this.pixelAt(this.over, x, y) : null;
      const on = this.over?.click ? 'pointer' : this.over?.kind === 'heat' ? 'crosshair' : 'default';
      const cursor = this.grips ? 'grab' : on;
      if (canvas.style.cursor !== cursor) canvas.style.cursor = cursor;
      this.show();
    };
    canvas.onpointerleave = () => {
      if (this.held) return;
      this.over = this.pixel = this.pointer = this.grips = null;
      this.show();
    };
    canvas.onpointerdown = e => {
      const [x, y] = this.place(e), how = this.grip(x, y), s = how && how !== 'move' ? null : this.find(x, y);
      if (!how || s?.click) return;
      this.held = { how, spot: this.frame(), from: [x, y] };
      this.pulled = { turn: 0, zoom: 1, right: 0, down: 0 };
      canvas.setPointerCapture(e.pointerId);
      canvas.style.cursor = 'grabbing';
      this.moved = false;
    };
    canvas.onpointerup = canvas.onpointercancel = e => {
      if (!this.held) return;
      const { spot } = this.held, p = this.pulled, last = this.place(e), [x, y] = this.held.from;
      this.dragged = Math.hypot(last[0] - x, last[1] - y) > 3;
      this.held = this.waits = null;
      if (this.dragged) this.send(spot, p); else this.pulled = null;
      canvas.style.cursor = 'grab';
      this.show();
    };
    canvas.onclick = e => {
      if (!this.dragged) this.choose(this.find(...this.place(e)));
      this.dragged = false;
    };
    canvas.onkeydown = e => this.key(e);
    canvas.onblur = () => { this.over = this.pixel = null; this.show(); };
    this.sizes = new ResizeObserver(() => this.show());
    this.sizes.observe(this.root);
    this.again = () => {                        // one message brings picture, spots and values: they are taken together
      if (this.due) return;
      this.due = true;
      queueMicrotask(() => { this.due = false; this.renew(); });
    };
    for (const name of ['value', 'spots', 'floats']) this.model.on(`change:${name}`, this.again);
    this.living = () => this.alive();
    this.model.on('change:status', this.living);
    this.ready = () => this.next();
    this.model.on('change:answered', this.ready);
  }
  key(e) {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
    const by = e.shiftKey ? 5 : 1, s = this.over, next = { n: 1, p: -1 }[e.key];
    if (next || way && s?.kind !== 'heat' && s?.kind !== 'frame') this.go(next || (way[0] || way[1]));
    else if (e.key === 'Escape') this.over = this.pixel = null;
    else if ((e.key === 'Enter' || e.key === ' ') && s?.click) this.choose(s);
    else if (s?.kind === 'heat' && way) {
      const [h, w] = s.shape, [i, j] = this.pixel || [w >> 1, h >> 1];
      this.pixel = [clamp(i + by * way[0], 0, w - 1), clamp(j + by * way[1], 0, h - 1)];
    } else if (s?.kind === 'frame' && (way || '+-[]'.includes(e.key))) {
      const p = { turn: 0, zoom: 1, right: 0, down: 0 };
      if (way) { p.right = 4 * by * way[0]; p.down = 4 * by * way[1]; }
      else if ('+-'.includes(e.key)) p.zoom = e.key === '+' ? 1.05 : 1 / 1.05;
      else p.turn = e.key === '[' ? 5 : -5;
      if (this.answered) this.send(s, p);
    } else return;
    this.pointer = null;
    if (this.over) this.told.textContent = this.words(this.over, this.pixel).join(', ');
    e.preventDefault();
    e.stopPropagation();
    this.show();
  }
  go(by) {
    const all = this.spots, i = all.findIndex(s => s.id === this.over?.id);
    if (!all.length) return;
    this.over = all[i < 0 ? (by > 0 ? 0 : all.length - 1) : (i + by + all.length) % all.length];
    this.pixel = this.over.kind === 'heat' ? this.peak(this.over) : null;
  }
  peak(s) {
    let best = 0;
    for (let i = 0; i < s.shape[0] * s.shape[1]; i++) {
      if (this.values[s.from + i] > this.values[s.from + best]) best = i;
    }
    return [best % s.shape[1], Math.floor(best / s.shape[1])];
  }
  leave() {
    this.sizes.disconnect();
    clearTimeout(this.later);
    for (const name of ['value', 'spots', 'floats']) this.model.off(`change:${name}`, this.again);
    this.model.off('change:status', this.living);
    this.model.off('change:answered', this.ready);
    if (this.img.src) URL.revokeObjectURL(this.img.src);
  }
}

export default {
  render({ model, el }) {
    const figure = el.figure = new Figure(model, el);
    return () => figure.leave();
  },
};
