// What both toys share: Adam, chance, a run with its past, and the controls around a canvas.
// Python puts GIVEN before this text (colours, teachers, knobs: `semipose.toys`) and the toy's own text after it.

// ---- arithmetic ----

const clamp = (v, lo, hi) => Math.min(Math.max(v, lo), hi);
const mixed = (a, b, t) => a + (b - a) * t;

// One step of Adam as torch makes it. state: {at, mean, square: Float64Array, made: steps}; a new state comes back.
function adam(state, gradient, lr) {
  const { at, mean, square } = state, made = state.made + 1, n = at.length;
  const next = { at: new Float64Array(n), mean: new Float64Array(n), square: new Float64Array(n), made };
  const c1 = 1 - 0.9 ** made, c2 = Math.sqrt(1 - 0.999 ** made);
  for (let i = 0; i < n; i++) {
    const g = gradient[i], m = 0.9 * mean[i] + 0.1 * g, v = 0.999 * square[i] + 0.001 * g * g;
    next.mean[i] = m;
    next.square[i] = v;
    next.at[i] = at[i] - lr / c1 * m / (Math.sqrt(v) / c2 + 1e-8);
  }
  return next;
}

const fresh = at => ({ at: Float64Array.from(at), mean: new Float64Array(at.length), square: new Float64Array(at.length), made: 0 });

// Random numbers that depend on the given whole numbers alone: step k samples the same whenever it is made.
function chance(...keys) {
  let a = 0x9e3779b9, spare = null;
  for (const k of keys) { a = Math.imul(a ^ k, 0x85ebca6b); a = Math.imul(a ^ a >>> 13, 0xc2b2ae35) ^ a >>> 16; }
  const uniform = () => {
    a = a + 0x6d2b79f5 | 0;
    let t = Math.imul(a ^ a >>> 15, 1 | a);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
  const normal = () => {
    if (spare !== null) { const s = spare; spare = null; return s; }
    const r = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    spare = r * Math.sin(angle);
    return r * Math.cos(angle);
  };
  return { uniform, normal };
}

// ---- a run: what was done at which step, and every state on the way ----

// rules: begin(fixed, deeds at step 0) -> state; act(state, deed) -> state; step(state, k, fixed) -> state. States are never changed in place.
// A deed is [step, name, ...values]; it acts from its step on, and what had come after it is forgotten.
class Run {
  constructor(rules, fixed, deeds) {
    Object.assign(this, { rules, fixed, deeds: [...deeds].sort((a, b) => a[0] - b[0]), before: [], now: new Map() });
    this.before.push(rules.begin(fixed, this.at0()));
  }
  at0() { return this.deeds.filter(d => d[0] === 0); }
  get made() { return this.before.length - 1; }
  at(k) {                                   // the state after k steps, with what was done there
    while (this.before.length <= k) {
      const j = this.before.length - 1;
      this.before.push(this.rules.step(this.at(j), j, this.fixed));
    }
    if (!this.now.has(k)) this.now.set(k, this.deeds.filter(d => d[0] === k).reduce(this.rules.act, this.before[k]));
    return this.now.get(k);
  }
  do(k, name, ...values) {
    const same = this.rules.key(name, values);
    this.at(k);
    this.deeds = this.deeds.filter(d => d[0] < k || d[0] === k && this.rules.key(d[1], d.slice(2)) !== same);
    this.deeds.push([k, name, ...values]);
    this.before.length = k + 1;
    for (const j of [...this.now.keys()]) if (j >= k) this.now.delete(j);
    if (k === 0) this.before[0] = this.rules.begin(this.fixed, this.at0());
  }
}

// A state in one line that an address can hold: ratio=30;seed=0;step=40;do=0:who:both,20:who:easy
const short = v => typeof v === 'number' ? String(+v.toFixed(4)) : v;
const spell = (run, k) => [...Object.entries(run.fixed).map(([n, v]) => `${n}=${short(v)}`), `step=${k}`,
  ...(run.deeds.length ? ['do=' + run.deeds.map(d => d.map(short).join(':')).join(',')] : [])].join(';');

// Its inverse. What cannot be read is left out: a broken link opens the toy as it was made.
function read(text, knobs, rules, most) {
  const pairs = Object.fromEntries(String(text || '').split(';').map(p => p.split('=')).filter(p => p.length === 2));
  const fit = (knob, v) => !knob || v === '' || !isFinite(v) ? null
    : knob.choices ? (knob.choices.includes(+v) ? +v : null) : clamp(+v, knob.least, knob.most);
  const fixed = {}, deeds = [];
  for (const knob of knobs.filter(n => n.anew)) fixed[knob.name] = fit(knob, pairs[knob.name] ?? '') ?? knob.value;
  for (const part of (pairs.do || '').split(',').filter(Boolean)) {
    const [k, name, ...raw] = part.split(':');
    if (!/^\d+$/.test(k) || +k > most) continue;
    const knob = knobs.find(n => n.name === name && !n.anew);
    if (name === 'who' ? GIVEN.who.some(w => w.name === raw[0]) : knob) {
      const value = name === 'who' ? raw[0] : fit(knob, raw[0] ?? '');
      if (value !== null) deeds.push([+k, name, value]);
    } else if (rules.reads(name, raw.map(Number), fixed)) deeds.push([+k, name, ...raw.map(Number)]);
  }
  return { fixed, deeds, step: /^\d+$/.test(pairs.step) ? Math.min(+pairs.step, most) : 0 };
}

// ---- drawing ----

function isDark(element) {
  for (let e = element; e; e = e.parentElement) {
    const [r, g, b, a = 1] = (getComputedStyle(e).backgroundColor.match(/[\d.]+/g) || []).map(Number);
    if (r !== undefined && a > 0.5) return 0.3 * r + 0.6 * g + 0.1 * b < 110;
  }
  return matchMedia('(prefers-color-scheme: dark)').matches && getComputedStyle(document.documentElement).colorScheme.includes('dark');
}

const FONT = '13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif';

// A context in CSS px, cleared, sharp on every screen
function brush(canvas, width, height) {
  const dpr = window.devicePixelRatio || 1, w = Math.round(width * dpr), h = Math.round(height * dpr);
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; canvas.style.height = `${height}px`; }
  const c = canvas.getContext('2d');
  c.setTransform(dpr, 0, 0, dpr, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = FONT;
  c.lineJoin = c.lineCap = 'round';
  return c;
}

// A picture that is drawn again only when what it shows, or its size, changes. `keep` remembers it; `shows`: what it depends on
function layer(keep, name, shows, width, height, draw) {
  const dpr = window.devicePixelRatio || 1, old = keep[name], all = [...shows, width, height, dpr];
  if (!old || all.some((v, i) => v !== old.all[i])) {
    const canvas = old?.canvas || document.createElement('canvas');
    draw(brush(canvas, width, height));
    keep[name] = { canvas, all };
  }
  return keep[name].canvas;
}

function line(c, points, color, width = 2, dash = []) {
  c.beginPath();
  points.forEach(([x, y], i) => i ? c.lineTo(x, y) : c.moveTo(x, y));
  c.strokeStyle = color; c.lineWidth = width; c.setLineDash(dash);
  c.stroke();
  c.setLineDash([]);
}

function dot(c, x, y, r, color, rim = null, width = 1.5) {
  c.beginPath();
  c.arc(x, y, r, 0, 2 * Math.PI);
  if (color) { c.fillStyle = color; c.fill(); }
  if (rim) { c.strokeStyle = rim; c.lineWidth = width; c.stroke(); }
}

function arrow(c, x, y, dx, dy, color, width = 2) {
  const long = Math.hypot(dx, dy);
  if (long < 3) return;
  const head = Math.min(7, 0.6 * long), ux = dx / long, uy = dy / long, ex = x + dx, ey = y + dy;
  line(c, [[x, y], [ex - ux * head * 0.7, ey - uy * head * 0.7]], color, width);
  c.beginPath();
  c.moveTo(ex, ey);
  c.lineTo(ex - ux * head - uy * head * 0.55, ey - uy * head + ux * head * 0.55);
  c.lineTo(ex - ux * head + uy * head * 0.55, ey - uy * head - ux * head * 0.55);
  c.fillStyle = color;
  c.fill();
}

// Words with the page's colour behind them, so that lines do not run through
function label(c, text, x, y, color, colors, align = 'left', clear = true) {
  const w = c.measureText(text).width, left = align === 'right' ? x - w : align === 'center' ? x - w / 2 : x;
  if (clear) { c.globalAlpha = 0.82; c.fillStyle = colors.paper; c.fillRect(left - 3, y - 12, w + 6, 16); c.globalAlpha = 1; }
  c.fillStyle = color; c.textAlign = 'left';
  c.fillText(text, left, y);
}

const STYLE = `
.semipose-toy { --edge:#8a929c; --focus:#3465c8; font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; max-width:1000px;
  color:inherit; container-type:inline-size; margin:.3rem 0 .8rem }
.semipose-toy.dark { --edge:#7d8794; --focus:#8fb4ff }
.semipose-toy .row { display:flex; flex-wrap:wrap; align-items:center; gap:.35rem .7rem; margin:.3rem 0 }
.semipose-toy .who { display:flex; flex-wrap:wrap; border:0; margin:0; padding:0; gap:.3rem; align-items:center }
.semipose-toy .who legend { float:left; padding:0; margin-right:.35rem }
.semipose-toy .who label { position:relative; display:inline-flex; align-items:center; padding:.2rem .65rem; border:1.5px solid var(--edge); border-radius:1rem; cursor:pointer; white-space:nowrap }
.semipose-toy .who input { position:absolute; inset:0; opacity:0; margin:0; cursor:pointer }
.semipose-toy .who label.on { border-color:var(--own); background:var(--own); color:#fff; font-weight:600 }
.semipose-toy.dark .who label.on { color:#15181c }
.semipose-toy .who label:focus-within, .semipose-toy button:focus-visible, .semipose-toy select:focus-visible, .semipose-toy summary:focus-visible,
.semipose-toy input[type=range]:focus-visible, .semipose-toy canvas:focus-visible { outline:3px solid var(--focus); outline-offset:2px }
.semipose-toy button, .semipose-toy select { font:inherit; color:inherit; background:transparent; border:1.5px solid var(--edge); border-radius:.4rem; padding:.2rem .6rem; min-height:2rem; cursor:pointer }
.semipose-toy select option { color:#1b1f24; background:#fff }
.semipose-toy button:hover:not(:disabled), .semipose-toy .who label:hover { border-color:currentColor }
.semipose-toy button:disabled { opacity:.4; cursor:default }
.semipose-toy .play { min-width:5.4rem; font-weight:600 }
.semipose-toy canvas { display:block; width:100%; border-radius:.4rem; touch-action:none }
.semipose-toy .time { margin-top:.3rem; cursor:pointer }
.semipose-toy .scrub { display:flex; align-items:center; margin:0 }
.semipose-toy input[type=range] { accent-color:var(--own); margin:0; height:1.6rem }
.semipose-toy .scrub input { flex:1; width:100% }
.semipose-toy .count { font-variant-numeric:tabular-nums; min-width:5.2rem; text-align:right; margin-left:auto }
.semipose-toy .says { margin:.25rem 0; min-height:2.9em }
.semipose-toy .key { display:flex; flex-wrap:wrap; gap:.1rem 1.1rem; font-size:13px; margin:.3rem 0 }
.semipose-toy .key i { display:inline-block; width:.75em; height:.75em; border-radius:50%; margin-right:.4em; vertical-align:-.05em }
.semipose-toy .key i.bar { width:1.2em; height:.25em; border-radius:0; vertical-align:.22em }
.semipose-toy details { margin:.2rem 0 } .semipose-toy summary { cursor:pointer; width:max-content; max-width:100% }
.semipose-toy .knobs { display:grid; grid-template-columns:repeat(auto-fit,minmax(270px,1fr)); gap:.2rem 1.6rem; margin:.3rem 0 }
.semipose-toy .knobs label { display:grid; grid-template-columns:1fr auto; align-items:center }
.semipose-toy .knobs input { grid-column:1/3; width:100%; min-width:150px }
.semipose-toy .row > .slide { display:flex; flex-wrap:wrap; align-items:center; gap:.2rem .5rem } .semipose-toy .row > .slide output { min-width:2.6em; text-align:right }
.semipose-toy .row > .slide input { width:190px } .semipose-toy output { font-variant-numeric:tabular-nums }
.semipose-toy .help { font-size:13px; margin:.3rem 0; opacity:.85 }
`;

const make = (tag, props = {}, ...kids) => {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) k in e && k !== 'list' ? e[k] = v : e.setAttribute(k, v);
  e.append(...kids);
  return e;
};

// ---- the lab: controls, clock, pointer, keyboard, state ----

// toy: {name, most, speed, knobs, rules, help, key, height(width), draw(lab), strip(lab, c, w, h), says(lab), handles(lab), grab(lab, x, y), drag(lab, what, x, y), nudge(lab, what, dx, dy)}
class Lab {
  constructor(toy, model, el) {
    Object.assign(this, { toy, model, el, step: 0, part: 0, playing: false, held: null, picked: null, spent: [], copied: '', keep: {} });
    const root = this.root = make('div', { className: 'semipose-toy' });
    root.append(make('style', { textContent: STYLE }));
    this.build();
    el.append(root);
    this.open(this.fromHash() ?? model.get('state'));
    this.watch();
    this.resize();
  }

  // -- state --
  get run() { return this.past; }
  get state() { return this.run.at(this.step); }
  fromHash() {
    if (!this.model.page) return null;
    const m = location.hash.match(new RegExp(`(?:^#|&)${this.toy.name}=([^&]*)`));
    return m ? decodeURIComponent(m[1]) : null;
  }
  spelled() { return spell(this.run, this.step); }
  open(text) {
    const { fixed, deeds, step } = read(text, this.toy.knobs, this.toy.rules, this.toy.most);
    this.past = new Run(this.toy.rules, fixed, deeds);
    this.picked = null;
    this.go(step);
  }
  go(k) { this.step = clamp(Math.round(k), 0, this.toy.most); this.part = 0; this.run.at(this.step); this.show(); }
  do(name, ...values) { this.part = 0; this.run.do(this.step, name, ...values); this.show(); }
  anew(name, value) {                        // another number of pixels or seed: a new run with the teacher and settings of now
    const live = this.toy.knobs.filter(n => !n.anew).map(n => [0, n.name, this.state[n.name]]);
    this.past = new Run(this.toy.rules, { ...this.run.fixed, [name]: value }, [[0, 'who', this.state.who], ...live]);
    this.picked = null;
    this.go(0);
  }
  tell() {                                   // the kernel, where there is one
    const text = this.spelled();
    if (text === this.model.get('state')) return;
    this.told = text;
    this.model.set('state', text);
    this.model.save_changes();
  }

  // -- page --
  build() {
    const { toy, root } = this;
    const button = (text, title, act, props = {}) => { const b = make('button', { type: 'button', textContent: text, title, ...props }); b.onclick = act; return b; };
    this.radios = GIVEN.who.filter(w => !toy.who || toy.who.includes(w.name)).map(w => {
      const input = make('input', { type: 'radio', name: `who-${Lab.count = (Lab.count || 0)}-${toy.name}`, value: w.name });
      input.onchange = () => this.do('who', w.name);
      return { ...w, input, label: make('label', { title: w.long }, input, w.words) };
    });
    Lab.count++;
    const who = make('fieldset', { className: 'who' }, make('legend', { textContent: 'Who teaches' }), ...this.radios.map(r => r.label));
    this.inputs = toy.knobs.map(n => this.knob(n));
    const front = this.inputs.filter(i => i.front), folded = this.inputs.filter(i => !i.front);
    this.play = button('▶ Play', 'Play or pause (space)', () => this.toggle(), { className: 'play' });
    this.reset = button('|◀ Start', 'Back to step 0', () => { this.pause(); this.go(0); });
    this.less = button('◀ Back', 'One step back', () => { this.pause(); this.go(this.step - 1); });
    this.more = button('Step ▶', 'One optimiser step', () => { this.pause(); this.go(this.step + 1); });
    this.share = button('Copy link', 'This state as an address', () => this.copy());
    this.count = make('span', { className: 'count' });
    this.canvas = make('canvas', { tabIndex: 0, className: 'main', role: 'application', 'aria-label': toy.alt });
    this.time = make('canvas', { className: 'time', 'aria-hidden': 'true' });
    this.scrub = make('input', { type: 'range', min: 0, max: toy.most, step: 1, 'aria-label': 'steps made' });
    this.scrub.oninput = () => { this.pause(); this.go(+this.scrub.value); };
    this.words = make('p', { className: 'says', role: 'status' });
    const key = make('div', { className: 'key' });
    this.paintKey = () => key.replaceChildren(...toy.key(this.colors).map(([color, text, bar]) => {
      const mark = make('i', { className: bar ? 'bar' : '' });
      mark.style.background = color;
      return make('span', {}, mark, text);
    }));
    this.details = make('details', {}, make('summary', { textContent: 'More settings and the keyboard' }),
      make('div', { className: 'knobs' }, ...folded.map(i => i.label)), make('p', { className: 'help', textContent: toy.help }));
    root.append(make('div', { className: 'row' }, who),
      make('div', { className: 'row' }, this.play, this.reset, this.less, this.more, this.share, ...front.map(i => i.label), this.count),
      this.canvas, key, this.time, make('div', { className: 'scrub' }, this.scrub), this.words, this.details);
    for (const e of root.querySelectorAll('canvas, input, select')) e.setAttribute('data-lm-suppress-shortcuts', 'true');      // keys here are not JupyterLab's
  }

  knob(n) {
    if (n.choices) {
      const select = make('select', {}, ...n.choices.map(v => make('option', { value: v, textContent: n.anew || v < 1000 ? v : v.toLocaleString('en') })));
      select.onchange = () => n.anew ? this.anew(n.name, +select.value) : this.do(n.name, +select.value);
      return { ...n, label: make('label', {}, n.words + ' ', select), set: v => { if (+select.value !== v) select.value = v; } };
    }
    const span = Math.log(n.most / n.least), there = v => n.log ? 100 * Math.log(v / n.least) / span : v, back = v => n.log ? Math.round(n.least * Math.exp(v * span / 100)) : v;
    const input = make('input', n.log ? { type: 'range', min: 0, max: 100, step: 0.5 } : { type: 'range', min: n.least, max: n.most, step: n.by }), out = make('output');
    input.oninput = () => n.anew ? this.anew(n.name, +input.value) : this.do(n.name, back(+input.value));
    return { ...n, label: make('label', { className: 'slide' }, make('span', { textContent: n.words }), out, input),
      set: v => { if (back(+input.value) !== v) input.value = there(v); out.textContent = v.toLocaleString('en'); input.setAttribute('aria-valuetext', v); } };
  }

  // -- clock --
  toggle() { this.playing ? this.pause() : this.start(); }
  start() {
    if (this.step >= this.toy.most) this.go(0);
    this.playing = true;
    this.last = null;
    this.show();
    this.frame = requestAnimationFrame(t => this.tick(t));
  }
  pause() {
    if (!this.playing) return;
    this.playing = false;
    cancelAnimationFrame(this.frame);
    this.part = 0;
    this.show();
  }
  tick(t) {
    if (!this.playing) return;
    if (!this.root.isConnected) return void (this.playing = false);
    const begin = performance.now();
    if (this.last !== null) this.part += this.toy.speed * Math.min(t - this.last, 250) / 1000;
    this.last = t;
    const steps = Math.floor(this.part);
    this.step = Math.min(this.step + steps, this.toy.most);
    this.part -= steps;
    if (this.step >= this.toy.most) { this.playing = false; this.part = 0; }
    else this.run.at(this.step + 1);
    this.show(true);
    this.spent.push(performance.now() - begin);
    if (this.spent.length > 600) this.spent.shift();
    if (this.playing) this.frame = requestAnimationFrame(u => this.tick(u));
  }

  // -- picture --
  show(now = false) {
    if (now || !this.waiting) {
      if (now) return this.paint();
      this.waiting = requestAnimationFrame(() => { this.waiting = null; this.paint(); });
    }
  }
  paint() {
    if (!this.colors) return;
    const { state, toy } = this, own = GIVEN.who.find(w => w.name === state.who);
    this.own = this.colors[own.color];
    this.root.style.setProperty('--own', this.own);
    const width = this.canvas.clientWidth || 640;
    toy.draw(this, brush(this.canvas, width, toy.height(width)), width, toy.height(width));
    toy.strip(this, brush(this.time, width, 62), width, 62);
    for (const r of this.radios) {
      const on = r.name === state.who;
      if (r.input.checked !== on) r.input.checked = on;
      r.label.classList.toggle('on', on);
    }
    for (const i of this.inputs) i.set(i.anew ? this.run.fixed[i.name] : state[i.name]);
    if (+this.scrub.value !== this.step) this.scrub.value = this.step;
    this.count.textContent = `step ${this.step}`;
    const play = this.playing ? '❚❚ Pause' : '▶ Play';
    if (this.play.textContent !== play) this.play.textContent = play;
    this.reset.disabled = this.less.disabled = this.step === 0;
    this.more.disabled = this.step >= toy.most;
    const says = this.copied || toy.says(this);
    if (this.words.textContent !== says) this.words.textContent = says;
    this.words.setAttribute('aria-live', this.playing || this.held ? 'off' : 'polite');
    if (!this.playing && !this.held) { clearTimeout(this.later); this.later = setTimeout(() => this.tell(), 250); }
  }
  bands(c, at, h) {                          // behind a strip: who taught when
    const { run } = this;
    for (let from = 0, k = 1; k <= run.made; k++) if (k === run.made || run.at(k).who !== run.at(from).who) {
      c.globalAlpha = 0.17;
      c.fillStyle = this.colors[GIVEN.who.find(w => w.name === run.at(from).who).color];
      c.fillRect(at(from), 2, at(k) - at(from), h - 4);
      c.globalAlpha = 1;
      from = k;
    }
  }
  theme() {
    const dark = isDark(this.root), colors = { ...GIVEN.palette, ...(dark ? GIVEN.dark : {}) };
    this.colors = { ...colors, ink: dark ? '#e6e8eb' : GIVEN.ink, muted: dark ? '#9aa1ab' : GIVEN.muted, grid: dark ? '#31373e' : GIVEN.grid, paper: dark ? '#15181c' : '#ffffff', dark };
    this.root.classList.toggle('dark', dark);
    for (const r of this.radios) r.label.style.setProperty('--own', this.colors[r.color]);
    this.paintKey();
  }
  resize() { this.theme(); this.paint(); }

  // -- hands --
  watch() {
    const place = e => { const b = this.canvas.getBoundingClientRect(); return [e.clientX - b.left, e.clientY - b.top]; };
    const quiet = () => { this.copied = ''; };
    this.canvas.onpointerdown = e => {
      quiet();
      this.held = this.toy.grab(this, ...place(e));
      if (!this.held) return;
      this.pause();
      this.picked = this.held;
      this.canvas.setPointerCapture(e.pointerId);
      this.canvas.style.cursor = 'grabbing';
      this.show();
    };
    this.canvas.onpointermove = e => {
      if (this.held) this.toy.drag(this, this.held, ...place(e));
      else this.canvas.style.cursor = this.toy.grab(this, ...place(e)) ? 'grab' : 'default';
    };
    this.canvas.onpointerup = this.canvas.onpointercancel = () => { if (this.held) { this.held = null; this.canvas.style.cursor = 'grab'; this.show(); } };
    const seek = e => { const b = this.time.getBoundingClientRect(); this.pause(); this.go((e.clientX - b.left - 8) / (b.width - 16) * this.toy.most); };
    this.time.onpointerdown = e => { quiet(); this.time.setPointerCapture(e.pointerId); this.seeking = true; seek(e); };
    this.time.onpointermove = e => { if (this.seeking) seek(e); };
    this.time.onpointerup = this.time.onpointercancel = () => { this.seeking = false; };
    this.canvas.onkeydown = e => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key], next = { n: 1, p: -1 }[e.key];
      quiet();
      if (e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.key === ' ') this.toggle();
      else if (next) {
        const all = this.toy.handles(this), i = all.findIndex(h => h.id === this.picked?.id);
        this.picked = all.length ? all[i < 0 ? (next > 0 ? 0 : all.length - 1) : (i + next + all.length) % all.length] : null;
        this.show();
      }
      else if (e.key === 'Escape') { this.picked = null; this.show(); }
      else if (way && this.picked) { this.pause(); this.toy.nudge(this, this.picked, ...way.map(v => v * (e.shiftKey ? 5 : 1))); }
      else return;
      e.preventDefault();
    };
    this.root.addEventListener('input', quiet);
    this.root.addEventListener('click', e => { if (e.target !== this.share) quiet(); });
    this.canvas.onblur = () => this.show();
    const sizes = new ResizeObserver(() => this.resize());
    sizes.observe(this.root);
    const scheme = matchMedia('(prefers-color-scheme: dark)'), again = () => this.resize();
    scheme.addEventListener('change', again);
    const outside = () => { const t = this.model.get('state'); if (t !== this.told && t !== this.spelled()) { this.pause(); this.open(t); } };
    this.model.on('change:state', outside);
    const hash = () => { const t = this.fromHash(); if (t !== null && t !== this.spelled()) { this.pause(); this.open(t); } };
    window.addEventListener('hashchange', hash);
    this.leave = () => {
      this.pause();
      sizes.disconnect();
      scheme.removeEventListener('change', again);
      window.removeEventListener('hashchange', hash);
      this.model.off?.('change:state', outside);
    };
  }

  copy() {
    const mine = `${this.toy.name}=${encodeURIComponent(this.spelled()).replace(/%3D/g, '=').replace(/%3B/g, ';').replace(/%3A/g, ':').replace(/%2C/g, ',')}`;
    let text;
    if (this.model.page) {
      const others = location.hash.slice(1).split('&').filter(p => p.includes('=') && !p.startsWith(this.toy.name + '='));
      history.replaceState(null, '', '#' + [...others, mine].join('&'));
      text = location.href;
      this.copied = 'The address of this page now holds this state; it is on the clipboard.';
    } else {
      const page = this.model.get('page');
      text = page ? `${page.split('#')[0]}#${mine}` : this.spelled();
      this.copied = page ? 'On the clipboard: a link that opens this state.' : 'On the clipboard: this state, for state=... in Python. With page=... it is a link.';
    }
    this.tell();
    const failed = () => { this.copied = this.model.page ? 'The address of this page now holds this state.' : `This state: ${text}`; this.paint(); };
    navigator.clipboard ? navigator.clipboard.writeText(text).then(() => this.paint(), failed) : failed();
  }
}

// In a page without a kernel: a model that remembers, for every place that waits for this toy
function mount(widget, name) {
  for (const el of document.querySelectorAll(`.semipose-page[data-toy="${name}"]`)) {
    const values = { state: el.dataset.state || '', page: '' };
    el.replaceChildren();
    el.lab = widget.render({ model: { page: true, get: k => values[k], set: (k, v) => { values[k] = v; }, on() {}, off() {}, save_changes() {} }, el }, true);
  }
}

function render(toy, { model, el }, whole = false) {
  const lab = new Lab(toy, model, el);
  el.lab = lab;
  return whole ? lab : () => lab.leave();
}
