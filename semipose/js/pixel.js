// The one-pixel toy: two views of one joint pixel among many background pixels, every end in closed form.
// Left, each view has a height of its own (plain gradient descent); below, two heights are shared by all pixels (Adam); right, where sharing ends.
// The same settings and formulas as `semipose.collapse`: `met`, `settled`, `limit`, `pixels`.

const ETA = 0.06;             // of a free height: the share of a gap that a step closes

// One step of free heights of two views: `collapse.met`
function free(who, [easy, hard], eta) {
  const gap = easy - hard;
  return [easy - (who === 'both' || who === 'hard' ? eta * gap : 0), hard + (who === 'both' || who === 'easy' ? eta * gap : 0)];
}

// Gradient of labels and consistency by the two shared heights: u of what looks like joint, v of what looks like background.
// In the hard view a joint pixel looks like background to the share s, a background pixel like joint to the share q.
function slope([u, v], who, r, s, q, lam) {
  const n = 1 + r, d = u - v;
  let gu = (u - 1) / n, gv = r * v / n;
  if (who === 'nobody') return [gu, gv];
  const joint = -s * d, ground = q * d;       // hard answer minus easy answer
  if (who !== 'hard') { gu += lam / n * (joint * (1 - s) + r * ground * q); gv += lam / n * (joint * s + r * ground * (1 - q)); }
  if (who !== 'easy') { gu -= lam / n * joint; gv -= lam / n * r * ground; }
  return [gu, gv];
}

const learn = (net, who, r, s, q, lam, lr) => adam(net, slope(net.at, who, r, s, q, lam), lr);

// Where the shared heights end; null where nothing holds them
function settled(who, r, s, q, lam) {
  if (who === 'nobody') return [1, 0];
  const [a, b] = { both: [s * s + r * q * q, -(s * s / r + q * q)], easy: [r * q * q - s * (1 - s), q * (1 - q) - s * s / r], hard: [s, -q] }[who];
  const gap = 1 + lam * (a - b), trace = (1 + r) + lam * (a - r * b);
  return gap <= 0 || trace <= 0 ? null : [1 - lam * a / gap, -lam * b / gap];
}

const high = (...given) => { const e = settled(...given); return e ? e[0] : Infinity; };

// The number of background pixels at which the joint's height falls under one half
function limit(who, s, q, lam) {
  let lo = 1, hi = 1e6;
  if (high(who, hi, s, q, lam) > 0.5) return Infinity;
  for (let i = 0; i < 60; i++) { const mid = Math.sqrt(lo * hi); if (high(who, mid, s, q, lam) > 0.5) lo = mid; else hi = mid; }
  return lo;
}

const rules = {
  key: name => name,
  reads: (name, v) => name === 'free' && v.length === 2 && v.every(h => h >= -0.2 && h <= 1.3) || name === 'shared' && v.length === 1 && v[0] >= -0.2 && v[0] <= 2.2,
  begin: (fixed, deeds) => {
    const values = Object.fromEntries(GIVEN.knobs.pixel.map(n => [n.name, n.value]));
    const s = deeds.reduce((v, d) => d[1] === 'joint' ? d[2] : v, values.joint);
    return { ...values, who: 'both', free: [1, 1 - s], net: fresh([1, 0]) };
  },
  act(s, [, name, ...v]) {
    if (name === 'free') return { ...s, free: v };
    if (name === 'shared') return { ...s, net: { ...s.net, at: Float64Array.of(v[0], s.net.at[1]) } };
    return { ...s, [name]: v[0] };
  },
  step: s => ({ ...s, free: free(s.who, s.free, ETA), net: learn(s.net, s.who, s.ratio, s.joint, s.ground, s.lam, 0.03) }),
};

// ---- the picture ----

const RATIOS = [1, 1000], TOP = 2.1;

function boxes(width, height) {
  const narrow = width < 560, pad = 34;
  if (narrow) { const h = height / 3; return { free: [pad, 24, width - pad - 10, h - 46], shared: [pad, h + 16, width - pad - 10, h - 62], end: [pad, 2 * h + 24, width - pad - 10, h - 64] }; }
  const w = Math.round(width * 0.47);
  return { free: [pad, 26, w - pad, height / 2 - 54], shared: [pad, height / 2 + 24, w - pad, height / 2 - 62], end: [w + 46, 26, width - w - 56, height - 64] };
}

function axes(c, [x, y, w, h], title, colors, [lo, hi], ticks, under) {
  const at = v => y + h - (v - lo) / (hi - lo) * h;
  for (const t of ticks) { line(c, [[x, at(t)], [x + w, at(t)]], colors.grid, 1); c.fillStyle = colors.muted; c.textAlign = 'right'; c.fillText(t, x - 6, at(t) + 4); }
  c.font = '600 ' + FONT;
  c.textAlign = 'left'; c.fillStyle = colors.ink; c.fillText(title, x, y - 10);
  c.font = FONT;
  if (under) { c.fillStyle = colors.muted; c.textAlign = 'center'; c.fillText(under, x + w / 2, y + h + 32); }
  line(c, [[x, at(0.5)], [x + w, at(0.5)]], colors.muted, 1, [4, 4]);
  return at;
}

const toy = {
  name: 'pixel', most: 120, speed: 15, rules, knobs: GIVEN.knobs.pixel,
  alt: 'Heights of one joint pixel in two views by step, and where they end against the number of background pixels. n and p choose a point, arrow keys move it.',
  help: 'Drag the easy or the hard answer up and down; drag the gold point sideways for another number of background pixels, up and down for another height. '
    + 'What you change acts from the step you are at. Keyboard, with the picture in focus: space plays, n and p choose a point, arrows move it, with Shift further; Escape lets go.',
  height: w => w < 560 ? 700 : Math.round(clamp(w * 0.5, 300, 400)),
  key: c => [[c.crimson, 'easy view of the joint pixel'], [c.royal, 'its hard view'], [c.gold, 'height of what looks like a joint', 1], [c.ash, 'height of what looks like background', 1]],

  draw(lab, c, width, height) {
    const { state, colors, run, step } = lab, b = lab.boxes = boxes(width, height), t = step + lab.part;
    const past = k => run.before[k], next = lab.part > 0 ? run.before[step + 1] : null;
    const now = { free: next ? state.free.map((v, i) => mixed(v, next.free[i], lab.part)) : state.free, u: next ? mixed(state.net.at[0], next.net.at[0], lab.part) : state.net.at[0],
      v: next ? mixed(state.net.at[1], next.net.at[1], lab.part) : state.net.at[1] };
    const at = (box, k) => box[0] + k / toy.most * box[2];
    const story = (box, y, pick, color, v, width = 2.5) => line(c, [...Array.from({ length: step + 1 }, (_, k) => [at(box, k), y(pick(past(k)))]), ...(run.now.has(step) ? [[at(box, step), y(pick(state))]] : []), [at(box, t), y(v)]], color, width);

    // each view has a height of its own
    let y = lab.fy = axes(c, b.free, 'Each view has a height of its own', colors, [-0.05, 1.25], [0, 0.5, 1]);
    const ends = { both: [(now.free[0] + now.free[1]) / 2], easy: [now.free[0]], hard: [now.free[1]], nobody: [] }[state.who];
    for (const e of ends) line(c, [[at(b.free, t), y(e)], [at(b.free, toy.most), y(e)]], lab.own, 2, [3, 5]);
    story(b.free, y, s => s.free[0], colors.crimson, now.free[0]); story(b.free, y, s => s.free[1], colors.royal, now.free[1]);
    const fx = lab.fx = at(b.free, t), gap = y(now.free[1]) - y(now.free[0]);
    if (state.who === 'both' || state.who === 'hard') arrow(c, fx, y(now.free[0]), 0, gap * 0.42, colors.crimson, 3);
    if (state.who === 'both' || state.who === 'easy') arrow(c, fx, y(now.free[1]), 0, -gap * 0.42, colors.royal, 3);
    dot(c, fx, y(now.free[0]), 7, colors.crimson, colors.paper); dot(c, fx, y(now.free[1]), 7, colors.royal, colors.paper);
    if (step < toy.most * 0.55) {
      const close = Math.abs(gap) < 22, up = gap >= 0 ? 0 : 1, rows = [y(now.free[0]) - (close && !up ? 8 : -4) + (close && up ? 12 : 0), y(now.free[1]) + (close && !up ? 16 : 4) - (close && up ? 8 : 0)];
      label(c, lab.playing ? 'easy view' : 'easy view: drag it', fx + 13, rows[0], colors.crimson, colors); label(c, lab.playing ? 'hard view' : 'hard view: drag it', fx + 13, rows[1], colors.royal, colors);
    }

    // two heights shared by all
    const many = `${state.ratio.toLocaleString('en')} background pixel${state.ratio === 1 ? '' : 's'}`;
    const end = settled(state.who, state.ratio, state.joint, state.ground, state.lam), top = Math.max(1.25, ...(end ? [end[0] + 0.15] : []), now.u + 0.15);
    y = axes(c, b.shared, b.shared[2] < 370 ? 'Two heights shared by all pixels' : `Two heights, shared with ${many}`, colors, [-0.1, Math.min(top, TOP)], top > 1.5 ? [0, 0.5, 1, 1.5] : [0, 0.5, 1], 'step');
    c.save(); c.beginPath(); c.rect(b.shared[0] - 8, b.shared[1] - 4, b.shared[2] + 16, b.shared[3] + 8); c.clip();
    if (end) line(c, [[at(b.shared, t), y(end[0])], [at(b.shared, toy.most), y(end[0])]], lab.own, 2, [3, 5]);
    story(b.shared, y, s => s.net.at[1], colors.ash, now.v); story(b.shared, y, s => s.net.at[0], colors.gold, now.u, 3.5);
    dot(c, at(b.shared, t), y(now.v), 4, colors.ash); dot(c, at(b.shared, t), y(now.u), 6, colors.gold, colors.paper);
    if (end && step < toy.most * 0.7) label(c, `ends at ${end[0].toFixed(2)}`, b.shared[0] + b.shared[2] - 2, y(end[0]) + (Math.abs(y(end[0]) - y(now.u)) < 20 && y(end[0]) > y(now.u) ? 16 : -6), lab.own, colors, 'right');
    c.restore();

    for (const k of [0, 30, 60, 90, 120]) { c.fillStyle = colors.muted; c.textAlign = k === 120 ? 'right' : 'center'; c.fillText(k, at(b.shared, k) + (k === 120 ? 8 : 0), b.shared[1] + b.shared[3] + 16); }

    // where sharing ends
    const E = b.end, wide = r => E[0] + Math.log(r / RATIOS[0]) / Math.log(RATIOS[1] / RATIOS[0]) * E[2];
    y = lab.ey = axes(c, E, 'Where the shared height of the joint ends', colors, [0, TOP], [0, 0.5, 1, 1.5, 2], 'background pixels to one joint pixel');
    for (const r of [1, 10, 100, 1000]) { c.fillStyle = colors.muted; c.textAlign = r === 1000 ? 'right' : 'center'; c.fillText(r.toLocaleString('en'), r === 1000 ? wide(r) + 8 : wide(r), E[1] + E[3] + 16); }
    c.save(); c.beginPath(); c.rect(E[0], E[1], E[2], E[3]); c.clip();
    const rows = [];
    for (const w of GIVEN.who.filter(n => n.name !== 'nobody')) {
      const points = Array.from({ length: 81 }, (_, i) => RATIOS[1] ** (i / 80)).map(r => [wide(r), y(high(w.name, r, state.joint, state.ground, state.lam))]).filter(p => isFinite(p[1]));
      if (points.length) line(c, points, colors[w.color], w.name === state.who ? 4 : 2);
      rows.push({ w, points });
    }
    c.restore();
    lab.bx = wide(state.ratio); lab.by = y(clamp(now.u, 0, TOP));
    if (end) { arrow(c, lab.bx, lab.by, 0, (y(clamp(end[0], 0, TOP)) - lab.by) * 0.9, lab.own, 2.5); }
    dot(c, lab.bx, lab.by, 8, colors.gold, colors.ink, 2);
    const taken = [[lab.bx - 12, lab.by - 14, lab.bx + 12, lab.by + 14]];
    for (const { w, points } of rows) {            // words where no other curve, word or point stands
      const words = w.words.toLowerCase(), half = c.measureText(words).width / 2;
      const free = points.filter((_, i) => i % 4 === 2).flatMap(([x, v]) => [[x, v - 8], [x, v + 17]]).filter(([x, v]) => x - half > E[0] + 2 && x + half < E[0] + E[2] - 2 && v - 12 > E[1] && v < E[1] + E[3] - 3
        && !rows.some(o => o.points.some(([px, py]) => px > x - half - 3 && px < x + half + 3 && py > v - 13 && py < v + 4)) && !taken.some(([l, t0, r, b0]) => x + half > l && x - half < r && v > t0 && v - 12 < b0));
      if (!free.length) continue;
      const [x, v] = free[Math.floor(free.length / 2)];
      taken.push([x - half - 4, v - 14, x + half + 4, v + 4]);
      label(c, words, x, v, colors[w.color], colors, 'center', false);
    }
    const mark = { easy: [fx, lab.fy(now.free[0])], hard: [fx, lab.fy(now.free[1])], ball: [lab.bx, lab.by] }[lab.picked?.id];
    if (mark) dot(c, ...mark, 13, null, colors.dark ? '#8fb4ff' : colors.royal, 3);
  },

  strip(lab, c, w, h) {
    const { run, colors } = lab, at = k => 8 + k / toy.most * (w - 16), y = v => h - 6 - clamp(v, 0, 1.2) / 1.2 * (h - 14);
    lab.bands(c, at, h);
    line(c, [[at(0), y(0)], [at(toy.most), y(0)]], colors.grid, 1);
    line(c, Array.from({ length: run.made + 1 }, (_, k) => [at(k), y(run.before[k].net.at[0])]), colors.gold, 3);
    for (const k of new Set(run.deeds.map(d => d[0]))) if (k) line(c, [[at(k), 2], [at(k), 9]], colors.ink, 2);
    line(c, [[at(lab.step + lab.part), 2], [at(lab.step + lab.part), h - 2]], colors.ink, 1.5);
    const words = 'shared height of the joint, by step';
    if (w > 420 && at(run.made) < w - c.measureText(words).width - 30) label(c, words, w - 10, 18, colors.muted, colors, 'right', false);
  },

  says(lab) {
    const { state, step } = lab, { who, ratio, joint, ground, lam } = state, own = GIVEN.who.find(n => n.name === who);
    const now = `After ${step} step${step === 1 ? '' : 's'} (now ${own.long}), among ${ratio.toLocaleString('en')} background pixel${ratio === 1 ? '' : 's'}, the joint's shared height is ${state.net.at[0].toFixed(2)}`;
    if (who === 'nobody') return `${now}; labels alone bring it to 1.`;
    const end = settled(who, ratio, joint, ground, lam), most = limit(who, joint, ground, lam);
    if (!end) return `${now}. With this weight nothing holds the two heights: they run away from each other.`;
    const lost = most === Infinity ? 'it stays above one half at any number up to a million' : most > 1 ? `it falls under one half from ${Math.round(most).toLocaleString('en')} background pixels on` : 'it falls under one half whatever their number';
    return `${now} and ends at ${end[0].toFixed(2)}. With these views and this weight ${lost}.`;
  },

  // -- hands --
  handles: () => [{ id: 'easy' }, { id: 'hard' }, { id: 'ball' }],
  grab(lab, x, y) {
    const free = lab.state.free, all = [['easy', lab.fx, lab.fy(free[0])], ['hard', lab.fx, lab.fy(free[1])], ['ball', lab.bx, lab.by]];
    const near = all.map(([id, a, b]) => [Math.hypot(a - x, b - y), id]).sort((a, b) => a[0] - b[0])[0];
    if (near[0] < 18) return { id: near[1] };
    const E = lab.boxes.end;
    return Math.abs(x - lab.bx) < 8 && y > E[1] && y < E[1] + E[3] ? { id: 'ball', sideways: true } : null;
  },
  drag(lab, what, x, y) {
    const value = (at, [, top, , h]) => { const [a, b] = [at(0), at(1)]; return clamp((y - a) / (b - a), -0.1, TOP); };
    if (what.id !== 'ball') {
      const v = +Math.min(value(lab.fy, lab.boxes.free), 1.25).toFixed(3), [e, h] = lab.state.free;
      return lab.do('free', ...(what.id === 'easy' ? [v, h] : [e, v]));
    }
    const E = lab.boxes.end, r = Math.round(clamp(RATIOS[1] ** ((x - E[0]) / E[2]), ...RATIOS));
    what.from = what.from ?? [x, y];
    if (r !== lab.state.ratio) lab.do('ratio', r);
    if (!what.sideways && Math.abs(y - what.from[1]) > 4) lab.do('shared', +clamp(value(lab.ey, E), 0, TOP).toFixed(3));
  },
  nudge(lab, what, dx, dy) {
    const { state } = lab, [e, h] = state.free, fit = v => +clamp(v, -0.1, 1.25).toFixed(3);
    if (what.id === 'easy' && dy) return lab.do('free', fit(e + dy / 50), h);
    if (what.id === 'hard' && dy) return lab.do('free', e, fit(h + dy / 50));
    if (what.id !== 'ball') return;
    if (dx) lab.do('ratio', clamp(dx > 0 ? Math.max(state.ratio + 1, Math.round(state.ratio * 1.1 ** dx)) : Math.min(state.ratio - 1, Math.round(state.ratio * 1.1 ** dx)), ...RATIOS));
    if (dy) lab.do('shared', +clamp(state.net.at[0] + dy / 50, 0, TOP).toFixed(3));
  },
};

export default { most: toy.most, free, learn, settled, limit, Run, rules, read: t => read(t, toy.knobs, rules, toy.most), spell, render: (props, whole) => render(toy, props, whole) };
