// The boundary toy: two classes in the plane, a network of fixed bumps behind a sigmoid, one optimiser step at a time.
// The same settings, losses and optimiser as `semipose.collapse.Boundary`; points and views come from a chance of its own.

const NX = 10, NY = 7, GAP = 0.75, LEFT = -2.25, WIDE = 1.2 * GAP, LAST = NX * NY;      // bumps, as in `Plane`; parameter LAST is the ground
const PICTURES = 24, LABELED = 3, X = [-2.2, 4.3], Y = [-2.1, 2.1];

const SCALE = 1 / (2 * WIDE * WIDE), TAIL = Array.from({ length: NX }, (_, i) => Math.exp(-i * i * GAP * GAP * SCALE));

function ladder(d, out) {                 // exp(-(d - GAP i)^2 SCALE) for every i, with two exponentials
  let up = Math.exp(-d * d * SCALE);
  const by = Math.exp(2 * d * GAP * SCALE);
  for (let i = 0; i < out.length; i++) { out[i] = up * TAIL[i]; up *= by; }
}

function bumps(x, y, fx, fy) { ladder(x - LEFT, fx); ladder(y - LEFT, fy); }

function logit(w, fx, fy) {
  let sum = w[LAST];
  for (let i = 0, n = 0; i < NX; i++) {
    let row = 0;
    for (let j = 0; j < NY; j++) row += w[n++] * fy[j];
    sum += row * fx[i];
  }
  return sum;
}

const sigmoid = v => 1 / (1 + Math.exp(-v));

function push(g, by, fx, fy) {            // g += by * d logit / d w
  for (let i = 0, n = 0; i < NX; i++) {
    const c = by * fx[i];
    for (let j = 0; j < NY; j++) g[n++] += c * fy[j];
  }
  g[LAST] += by;
}

// Gradient and losses. known, easy, hard: x0 y0 x1 y1 ... of labelled points and of two views of the unlabelled ones; y: heights of `known`.
// Consistency: half the mean squared difference of the two answers, times lam; only who learns gets its gradient.
function slope(w, known, y, easy, hard, who, lam) {
  const g = new Float64Array(w.length), ax = new Float64Array(NX), ay = new Float64Array(NY), bx = new Float64Array(NX), by = new Float64Array(NY);
  let sup = 0, cons = 0;
  for (let i = 0, n = y.length; i < n; i++) {
    bumps(known[2 * i], known[2 * i + 1], ax, ay);
    const h = sigmoid(logit(w, ax, ay)), off = h - y[i];
    sup += off * off / (2 * n);
    push(g, off * h * (1 - h) / n, ax, ay);
  }
  if (who !== 'nobody') for (let i = 0, n = easy.length / 2; i < n; i++) {
    bumps(easy[2 * i], easy[2 * i + 1], ax, ay);
    bumps(hard[2 * i], hard[2 * i + 1], bx, by);
    const a = sigmoid(logit(w, ax, ay)), b = sigmoid(logit(w, bx, by)), off = b - a;
    cons += off * off / (2 * n);
    if (who !== 'hard') push(g, lam * off * b * (1 - b) / n, bx, by);      // the hard view learns
    if (who !== 'easy') push(g, -lam * off * a * (1 - a) / n, ax, ay);     // the easy view learns
  }
  return { g, sup, cons };
}

function learn(net, known, y, easy, hard, who, lam, lr) {
  const { g, sup, cons } = slope(net.at, known, y, easy, hard, who, lam);
  return { ...adam(net, g, lr), sup, cons };
}

// ---- points and views ----

function scatter(n, centre, spread, ...keys) {
  const { normal } = chance(...keys), points = new Float64Array(2 * n);
  for (let i = 0; i < 2 * n; i++) points[i] = (i % 2 ? 0 : centre) + spread * normal();
  return points;
}

// Joint pixels: one in each picture; background: `ratio` in each
const crowd = (n, ratio, seed) => ({ gold: scatter(n, 3, 0.4, seed, 0), grey: scatter(n * ratio, 0, 0.7, seed, 1) });

function moved(points, strength, ...keys) {        // scattered, and faded towards the background: `collapse.strength`
  const { uniform, normal } = chance(...keys), noise = 0.1 + 0.2 * strength, fade = 0.9 * strength, out = new Float64Array(points.length);
  for (let i = 0; i < points.length; i += 2) {
    const keep = 1 - fade * uniform();
    out[i] = (points[i] + noise * normal()) * keep;
    out[i + 1] = (points[i + 1] + noise * normal()) * keep;
  }
  return out;
}

function joined(a, b) { const out = new Float64Array(a.length + b.length); out.set(a); out.set(b, a.length); return out; }
const viewed = ({ gold, grey }, strength, ...keys) => joined(moved(gold, strength, ...keys, 0), moved(grey, strength, ...keys, 1));
const heights = ({ gold, grey }) => new Float64Array((gold.length + grey.length) / 2).fill(1, 0, gold.length / 2);
const placed = (points, i, x, y) => { const out = points.slice(); out[2 * i] = x; out[2 * i + 1] = y; return out; };

// ---- the start, and moving it ----

const START = new Map();
function started(fixed, few, name) {               // after 80 steps on labelled pixels
  if (!START.has(name)) {
    if (START.size > 40) START.clear();
    let net = fresh(new Float64Array(LAST + 1));
    net.at[LAST] = -2;
    const y = heights(few);
    for (let k = 0; k < 80; k++) net = learn(net, viewed(few, 0, fixed.seed, 100000 + k), y, [], [], 'nobody', 0, 0.15);
    START.set(name, net.at);
  }
  return START.get(name);
}

// Heights whose field is the old one moved by (dx, dy): least squares along x, then along y
const solver = (n, from, to) => {
  const at = Array.from({ length: 4 * n }, (_, i) => mixed(from, to, i / (4 * n - 1)));
  const A = at.map(v => Array.from({ length: n }, (_, i) => Math.exp(-((v - LEFT - GAP * i) ** 2) / (2 * WIDE * WIDE))));
  const M = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => A.reduce((s, r) => s + r[i] * r[j], i === j ? 1e-3 : 0)));
  const P = M.map((_, i) => at.map((_, k) => A[k][i]));
  for (let i = 0; i < n; i++) {                    // Gauss-Jordan: M is symmetric and positive
    const d = M[i][i];
    for (let j = 0; j < n; j++) M[i][j] /= d;
    for (let k = 0; k < at.length; k++) P[i][k] /= d;
    for (let r = 0; r < n; r++) if (r !== i) {
      const f = M[r][i];
      for (let j = 0; j < n; j++) M[r][j] -= f * M[i][j];
      for (let k = 0; k < at.length; k++) P[r][k] -= f * P[i][k];
    }
  }
  return { at, P };
};
let SOLVERS = null;
function shifted(w, dx, dy) {
  SOLVERS = SOLVERS || [solver(NX, -2.8, 5.1), solver(NY, -2.8, 2.8)];
  const [sx, sy] = SOLVERS, fx = new Float64Array(NX), fy = new Float64Array(NY), field = [];
  for (const x of sx.at) field.push(sy.at.map(y => { bumps(x - dx, y - dy, fx, fy); return logit(w, fx, fy) - w[LAST]; }));
  const half = sx.P.map(p => sy.at.map((_, j) => p.reduce((s, v, i) => s + v * field[i][j], 0)));
  const out = w.slice();
  for (let i = 0; i < NX; i++) for (let j = 0; j < NY; j++) out[i * NY + j] = sy.P[j].reduce((s, v, k) => s + v * half[i][k], 0);
  return out;
}

const rules = {
  key: (name, values) => name === 'gold' || name === 'label' ? name + values[0] : name,
  reads: (name, v) => v.every(isFinite) && (name === 'shift' ? v.length === 2 && v.every(a => Math.abs(a) < 9)
    : (name === 'gold' || name === 'label') && v.length === 3 && Number.isInteger(v[0]) && v[0] >= 0 && v[0] < (name === 'gold' ? PICTURES : LABELED) && Math.abs(v[1]) < 9 && Math.abs(v[2]) < 9),
  begin(fixed, deeds) {
    const moves = deeds.filter(d => d[1] === 'label');
    let few = crowd(LABELED, fixed.ratio, fixed.seed + 1000);
    for (const [, , i, x, y] of moves) few = { ...few, gold: placed(few.gold, i, x, y) };
    const at = started(fixed, few, JSON.stringify([fixed, moves]));
    const values = Object.fromEntries(GIVEN.knobs.boundary.filter(n => !n.anew).map(n => [n.name, n.value]));
    return { ...values, who: 'both', net: fresh(at), few, crowd: crowd(PICTURES, fixed.ratio, fixed.seed) };
  },
  act(s, [, name, ...v]) {
    if (name === 'gold') return { ...s, crowd: { ...s.crowd, gold: placed(s.crowd.gold, ...v) }, fate: null };
    if (name === 'label') return { ...s, few: { ...s.few, gold: placed(s.few.gold, ...v) }, fate: null };
    if (name === 'shift') return { ...s, net: { ...s.net, at: shifted(s.net.at, ...v) }, fate: null };
    return { ...s, [name]: v[0] };
  },
  views: (s, k, fixed) => ({ known: viewed(s.few, 0, fixed.seed, k, 0), easy: viewed(s.crowd, s.easy, fixed.seed, k, 1), hard: viewed(s.crowd, s.hard, fixed.seed, k, 2) }),
  step(s, k, fixed) {
    const { known, easy, hard } = rules.views(s, k, fixed);
    return { ...s, net: learn(s.net, known, heights(s.few), easy, hard, s.who, s.lam, 0.1), fate: null };
  },
};

// Shares of pixels nobody has seen that are called joint
const UNSEEN = { ...crowd(100, 6, 999) };
function fate(s) {
  if (!s.fate) {
    const fx = new Float64Array(NX), fy = new Float64Array(NY);
    const called = points => {
      let n = 0;
      for (let i = 0; i < points.length; i += 2) { bumps(points[i], points[i + 1], fx, fy); n += logit(s.net.at, fx, fy) > 0; }
      return 2 * n / points.length;
    };
    s.fate = { kept: called(UNSEEN.gold), lost: called(UNSEEN.grey) };
  }
  return s.fate;
}

// ---- the picture ----

const frameOf = (w, h) => {                        // plane <-> px: the whole of X and Y, and more of x where the page is wide
  const unit = Math.min(w / (X[1] - X[0]), h / (Y[1] - Y[0])), cx = (X[0] + X[1]) / 2;
  return { unit, px: x => w / 2 + (x - cx) * unit, py: y => h / 2 - y * unit, x: p => (p - w / 2) / unit + cx, y: p => (h / 2 - p) / unit };
};

function field(w, f, width, height, nx = 97, ny = 49) {
  const h = new Float64Array(nx * ny), rows = [], fx = new Float64Array(NX), fy = new Float64Array(NY);
  for (let j = 0; j < ny; j++) { bumps(0, f.y(height * j / (ny - 1)), fx, fy); rows.push(fy.slice()); }
  const half = new Float64Array(NY);
  for (let i = 0; i < nx; i++) {
    bumps(f.x(width * i / (nx - 1)), 0, fx, fy);
    for (let b = 0; b < NY; b++) { half[b] = 0; for (let a = 0; a < NX; a++) half[b] += w[a * NY + b] * fx[a]; }
    for (let j = 0; j < ny; j++) { let s = w[LAST]; for (let b = 0; b < NY; b++) s += half[b] * rows[j][b]; h[j * nx + i] = s; }
  }
  return { h, nx, ny };
}

function contour({ h, nx, ny }, width, height) {   // marching squares at logit 0
  const found = [], sx = width / (nx - 1), sy = height / (ny - 1);
  for (let j = 0; j < ny - 1; j++) for (let i = 0; i < nx - 1; i++) {
    const a = h[j * nx + i], b = h[j * nx + i + 1], c = h[(j + 1) * nx + i + 1], d = h[(j + 1) * nx + i], cut = [];
    if (a > 0 !== b > 0) cut.push([(i + a / (a - b)) * sx, j * sy]);
    if (b > 0 !== c > 0) cut.push([(i + 1) * sx, (j + b / (b - c)) * sy]);
    if (c > 0 !== d > 0) cut.push([(i + d / (d - c)) * sx, (j + 1) * sy]);
    if (d > 0 !== a > 0) cut.push([i * sx, (j + a / (a - d)) * sy]);
    for (let n = 0; n + 1 < cut.length; n += 2) found.push([cut[n], cut[n + 1]]);
  }
  return found;
}

function segments(c, found, color, width, dash = []) {
  c.beginPath();
  for (const [[ax, ay], [bx, by]] of found) { c.moveTo(ax, ay); c.lineTo(bx, by); }
  c.strokeStyle = color; c.lineWidth = width; c.setLineDash(dash);
  c.stroke();
  c.setLineDash([]);
}

let tint = null;
function answers(c, { h, nx, ny }, color, width, height) {
  const [r, g, b] = [1, 3, 5].map(i => parseInt(color.slice(i, i + 2), 16));
  tint = tint || document.createElement('canvas');
  tint.width = nx; tint.height = ny;
  const t = tint.getContext('2d'), image = t.createImageData(nx, ny);
  const data = image.data;
  for (let i = 0, n = 0; i < h.length; i++) { data[n++] = r; data[n++] = g; data[n++] = b; data[n++] = 95 * sigmoid(h[i]); }
  t.putImageData(image, 0, 0);
  c.imageSmoothingEnabled = true;
  c.drawImage(tint, 0.5, 0.5, nx - 1, ny - 1, 0, 0, width, height);
}

const percent = v => v > 0 && v < 0.01 ? '<1 %' : `${Math.round(100 * v)} %`;

const toy = {
  name: 'boundary', most: 200, speed: 12, rules, knobs: GIVEN.knobs.boundary,
  alt: 'The plane of pixels, with the boundary between what the network calls joint and what it calls background. n and p choose a gold pixel or the boundary, arrow keys move it.',
  help: 'Drag a gold pixel or the boundary; what you change acts from the step you are at, and later steps are made anew. A labelled pixel dragged at step 0 trains the start again. '
    + 'Keyboard, with the picture in focus: space plays, n and p choose the boundary or a gold pixel, arrows move it, with Shift further; Escape lets go.',
  height: w => Math.round(clamp(w * 4.2 / 6.5, 180, 400)),
  key: c => [[c.gold, 'joint pixel (with a ring: labelled)'], [c.ash, 'background pixel'], [c.crimson, 'easy view in the next step'], [c.royal, 'hard view; an arrow is the pull on an answer']],

  draw(lab, c, width, height) {
    const { state, colors } = lab, f = lab.plane = frameOf(width, height);
    let w = state.net.at;
    if (lab.part > 0 && lab.step < toy.most) { const next = lab.run.before[lab.step + 1]?.net.at; if (next) w = w.map((v, i) => mixed(v, next[i], lab.part)); }
    const net = field(w, f, width, height), first = lab.run.at(0).net.at;
    answers(c, net, colors.gold, width, height);
    const grey = state.crowd.grey, ratio = lab.run.fixed.ratio, each = Math.min(ratio, 30);
    const still = layer(lab.keep, 'still', [grey, first, lab.step + lab.part > 0, colors], width, height, d => {        // what stays from frame to frame
      d.beginPath();
      for (let p = 0; p < PICTURES; p++) for (let i = 0; i < each; i++) {
        const n = 2 * (p * ratio + i), x = f.px(grey[n]), y = f.py(grey[n + 1]);
        d.moveTo(x + 2, y); d.arc(x, y, 2, 0, 7);
      }
      d.fillStyle = colors.ash; d.globalAlpha = 0.75; d.fill(); d.globalAlpha = 1;
      if (lab.step || lab.part) segments(d, contour(field(first, f, width, height), width, height), colors.muted, 1.5, [5, 4]);
    });
    c.drawImage(still, 0, 0, width, height);
    const few = state.few.gold, gold = state.crowd.gold;
    if (!lab.playing && state.who !== 'nobody') toy.views(lab, c, f, w);
    for (let i = 0; i < gold.length; i += 2) dot(c, f.px(gold[i]), f.py(gold[i + 1]), 5, colors.gold, colors.paper, 1);
    for (let i = 0; i < few.length; i += 2) dot(c, f.px(few[i]), f.py(few[i + 1]), 6, colors.gold, colors.ink, 2);
    lab.edge = contour(net, width, height);
    segments(c, lab.edge, colors.paper, 7);
    segments(c, lab.edge, lab.own, lab.picked?.id === 'edge' ? 5.5 : 3.5);
    const picked = lab.picked && toy.where(lab, lab.picked);
    if (picked) dot(c, f.px(picked[0]), f.py(picked[1]), 11, null, colors.dark ? '#8fb4ff' : colors.royal, 3);
    if (!lab.edge.length) label(c, 'no boundary is left: everything is called background', width / 2, 22, lab.own, colors, 'center');
    else {
      const up = lab.edge.reduce((a, b) => b[0][1] < a[0][1] ? b : a)[0], words = lab.picked?.id === 'edge' ? 'boundary: arrows or drag' : 'boundary: drag it';
      if (!lab.playing) label(c, words, clamp(up[0] + 8, 4, width - c.measureText(words).width - 4), clamp(up[1] + 14, 16, height - 8), lab.own, colors);
    }
    c.strokeStyle = colors.grid; c.lineWidth = 1; c.strokeRect(0.5, 0.5, width - 1, height - 1);
    if (ratio > 30) label(c, `drawn: 30 of ${ratio} background pixels to one joint pixel`, 8, height - 8, colors.muted, colors);
  },

  views(lab, c, f, w) {                            // some joint pixels as the next step will see them, and how hard the loss pulls their answers
    const { state, colors, step } = lab, seed = lab.run.fixed.seed, gold = state.crowd.gold;
    const easy = moved(gold, state.easy, seed, step, 1, 0), hard = moved(gold, state.hard, seed, step, 2, 0);
    const fx = new Float64Array(NX), fy = new Float64Array(NY), answer = (p, i) => { bumps(p[2 * i], p[2 * i + 1], fx, fy); return sigmoid(logit(w, fx, fy)); };
    const shown = [...Array(7).keys()];
    if (lab.picked?.id.startsWith('gold') && lab.picked.i > 6) shown.push(lab.picked.i);
    const pull = shown.map(i => Math.abs(answer(easy, i) - answer(hard, i))), most = Math.max(...pull, 1e-9);
    shown.forEach((i, n) => {
      const [gx, gy, ex, ey, hx, hy] = [gold, easy, hard].flatMap(p => [f.px(p[2 * i]), f.py(p[2 * i + 1])]), far = pull[n] / most / 2;
      c.globalAlpha = 0.45;
      line(c, [[ex, ey], [gx, gy]], colors.crimson, 1); line(c, [[hx, hy], [gx, gy]], colors.royal, 1);
      c.globalAlpha = 1;
      dot(c, ex, ey, 4, colors.crimson); dot(c, hx, hy, 4, colors.royal);
      if (state.who !== 'hard') arrow(c, hx, hy, (ex - hx) * far, (ey - hy) * far, colors.royal);
      if (state.who !== 'easy') arrow(c, ex, ey, (hx - ex) * far, (hy - ey) * far, colors.crimson);
    });
  },

  strip(lab, c, w, h) {
    const { run, colors } = lab, at = k => 8 + k / toy.most * (w - 16), y = v => h - 6 - v * (h - 14);
    lab.bands(c, at, h);
    line(c, [[at(0), y(0)], [at(toy.most), y(0)]], colors.grid, 1);
    const states = Array.from({ length: run.made + 1 }, (_, k) => fate(run.before[k]));
    line(c, states.map((s, k) => [at(k), y(s.lost)]), colors.muted, 2);
    line(c, states.map((s, k) => [at(k), y(s.kept)]), colors.gold, 3);
    for (const k of new Set(run.deeds.map(d => d[0]))) if (k) line(c, [[at(k), 2], [at(k), 9]], colors.ink, 2);
    line(c, [[at(lab.step + lab.part), 2], [at(lab.step + lab.part), h - 2]], colors.ink, 1.5);
    const words = 'found: joint pixels (gold); called joint: background (grey)';
    if (w > 520 && at(run.made) < w - c.measureText(words).width - 30) label(c, words, w - 10, 18, colors.muted, colors, 'right', false);
  },

  says(lab) {
    const { state, step, run } = lab, now = fate(state), first = fate(run.at(0)), who = GIVEN.who.find(n => n.name === state.who).long;
    const end = step === 0 ? 'The start: a network that has learnt from three labelled pictures.'
      : now.kept < first.kept / 2 ? 'Collapse: nearly everything is called background.'
        : now.lost > 0.1 ? 'Background pixels are taken for joints.' : now.kept >= first.kept ? 'No joint pixel is lost on balance.' : 'Some joint pixels are lost.';
    return `After ${step} step${step === 1 ? '' : 's'} (now ${who}): ${percent(now.kept)} of unseen joint pixels are found, ${percent(first.kept)} at the start; ${percent(now.lost)} of the background is called joint. ${end}`;
  },

  // -- hands --
  handles: lab => [...(lab.edge?.length ? [{ id: 'edge' }] : []), ...[...Array(PICTURES).keys()].map(i => ({ id: `gold${i}`, i, kind: 'gold' })),
    ...[...Array(LABELED).keys()].map(i => ({ id: `label${i}`, i, kind: 'label' }))],
  where(lab, what) { const p = what.kind === 'gold' ? lab.state.crowd.gold : what.kind === 'label' ? lab.state.few.gold : null; return p && [p[2 * what.i], p[2 * what.i + 1]]; },
  grab(lab, x, y) {
    let best = null, near = 13;
    for (const what of toy.handles(lab)) {
      const at = toy.where(lab, what), far = at ? Math.hypot(lab.plane.px(at[0]) - x, lab.plane.py(at[1]) - y) : 99;
      if (far < near) [best, near] = [what, far];
    }
    if (best) return best;
    for (const [[ax, ay], [bx, by]] of lab.edge || []) if (Math.hypot((ax + bx) / 2 - x, (ay + by) / 2 - y) < 12) return { id: 'edge', from: [x, y], total: toy.total(lab) };
    return null;
  },
  total: lab => (lab.run.deeds.find(d => d[0] === lab.step && d[1] === 'shift') || [0, 0, 0, 0]).slice(2),
  drag(lab, what, x, y) {
    const f = lab.plane, fit = v => Math.round(v * 1e3) / 1e3;
    if (what.id === 'edge') lab.do('shift', ...[what.total[0] + (x - what.from[0]) / f.unit, what.total[1] - (y - what.from[1]) / f.unit].map(v => fit(clamp(v, -3, 3))));
    else lab.do(what.kind, what.i, fit(clamp(f.x(x), X[0] - 0.3, X[1] + 0.3)), fit(clamp(f.y(y), ...Y)));
  },
  nudge(lab, what, dx, dy) {
    if (what.id === 'edge') { const [a, b] = toy.total(lab); return lab.do('shift', clamp(+(a + dx / 20).toFixed(3), -3, 3), clamp(+(b + dy / 20).toFixed(3), -3, 3)); }
    const [x, y] = toy.where(lab, what);
    lab.do(what.kind, what.i, +clamp(x + dx / 20, X[0] - 0.3, X[1] + 0.3).toFixed(3), +clamp(y + dy / 20, ...Y).toFixed(3));
  },
};

export default { most: toy.most, learn, shifted, fate, Run, rules, read: t => read(t, toy.knobs, rules, toy.most), spell, render: (props, whole) => render(toy, props, whole) };
