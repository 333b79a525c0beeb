"""Every codec beside two numpy versions of itself, one joint at a time and vectorised: ms a person, and ratios.

python scripts/benchmark_codecs.py [--people 64] [--rounds 5] [--device cpu]
python scripts/benchmark_codecs.py --versus     # pairs, round by round: min, median, max of the ratios
"""
from __future__ import annotations
import argparse, json, math, time

import numpy as np
import torch

from semipose.codecs import build_codec

H, W, K, S, STRIDE = 64, 48, 17, 2.0, 4
UNIT = np.array([(W * STRIDE - 1) / (W - 1), (H * STRIDE - 1) / (H - 1)])
R = 1.75 * S


# ---- one joint at a time ----

def bump_one(x, y):
    heat = np.zeros((H, W), np.float32)
    x0, x1 = max(0, math.ceil(x - 3 * S)), min(W - 1, math.floor(x + 3 * S))
    y0, y1 = max(0, math.ceil(y - 3 * S)), min(H - 1, math.floor(y + 3 * S))
    i, j = np.arange(y0, y1 + 1)[:, None], np.arange(x0, x1 + 1)
    heat[y0:y1 + 1, x0:x1 + 1] = np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * S * S))
    return heat


def disc_one(x, y):
    i, j = np.arange(H)[:, None], np.arange(W)
    disc = ((i - y) ** 2 + (j - x) ** 2 <= R * R).astype(np.float32)
    return disc, (x - j) / R * disc, (y - i) / R * disc


def quarter_one(h):
    y, x = divmod(int(h.argmax()), W)
    step = [.25 * np.sign(h[y, x + 1] - h[y, x - 1]),
            .25 * np.sign(h[y + 1, x] - h[y - 1, x])] if 0 < x < W - 1 and 0 < y < H - 1 else [0, 0]
    return np.array([x, y]) + step


def dark_one(h):
    from scipy.ndimage import gaussian_filter
    y, x = divmod(int(h.argmax()), W)
    if not (1 < x < W - 2 and 1 < y < H - 2): return np.array([x, y], float)
    L = np.log(np.maximum(gaussian_filter(h, S, mode="constant", truncate=3.0), 1e-10))
    d = np.array([(L[y, x + 1] - L[y, x - 1]) / 2, (L[y + 1, x] - L[y - 1, x]) / 2])
    dxx, dyy = (L[y, x + 2] - 2 * L[y, x] + L[y, x - 2]) / 4, (L[y + 2, x] - 2 * L[y, x] + L[y - 2, x]) / 4
    dxy = (L[y + 1, x + 1] - L[y - 1, x + 1] - L[y + 1, x - 1] + L[y - 1, x - 1]) / 4
    return np.array([x, y]) - np.linalg.solve(np.array([[dxx, dxy], [dxy, dyy]]), d)


def vote_one(h):
    from scipy.ndimage import gaussian_filter
    disc, dx, dy = h
    y, x = divmod(int(gaussian_filter(disc, R / 2, mode="constant", radius=int(1.5 * R + .5)).argmax()), W)
    r = int(R + .5)
    i, j = np.mgrid[max(0, y - r):min(H, y + r + 1), max(0, x - r):min(W, x + r + 1)]
    w = disc[i, j].clip(0) * np.exp(-((i - y) ** 2 + (j - x) ** 2) / (2 * (R / 2) ** 2))
    return np.array([(w * (j + R * dx[i, j])).sum(), (w * (i + R * dy[i, j])).sum()]) / max(w.sum(), 1e-6)


# ---- all at once, in numpy ----

def bumps_np(c):
    def side(v, n):
        d = np.arange(n, dtype=np.float32) - v[..., None]
        return np.exp(-d ** 2 / (2 * S * S)) * (abs(d) <= 3 * S)
    return side(c[..., 1], H)[..., :, None] * side(c[..., 0], W)[..., None, :]


def discs_np(c):
    dx = ((c[..., 0, None] - np.arange(W, dtype=np.float32)) / R)[..., None, :]
    dy = ((c[..., 1, None] - np.arange(H, dtype=np.float32)) / R)[..., :, None]
    disc = (dx ** 2 + dy ** 2 <= 1).astype(np.float32)
    return np.concatenate([disc, dx * disc, dy * disc], 1)


def top_np(h):
    at = h.reshape(*h.shape[:2], -1).argmax(-1)
    return at % W, at // W


def read_np(h, x, y, dx, dy):
    "Values beside the peak, the border repeated"
    b, k = np.ogrid[:h.shape[0], :h.shape[1]]
    return h[b, k, (y + dy).clip(0, H - 1), (x + dx).clip(0, W - 1)]


def quarter_np(h):
    x, y = top_np(h)
    inside = (x > 0) & (x < W - 1) & (y > 0) & (y < H - 1)
    step = np.stack([np.sign(read_np(h, x, y, 1, 0) - read_np(h, x, y, -1, 0)),
                     np.sign(read_np(h, x, y, 0, 1) - read_np(h, x, y, 0, -1))], -1)
    return np.stack([x, y], -1) + .25 * step * inside[..., None]


def dark_np(h):
    from scipy.ndimage import gaussian_filter
    x, y = top_np(h)
    L = np.log(np.maximum(gaussian_filter(h, (0, 0, S, S), mode="constant", truncate=3.0), 1e-10))
    v = lambda dx, dy: read_np(L, x, y, dx, dy)
    gx, gy, c = (v(1, 0) - v(-1, 0)) / 2, (v(0, 1) - v(0, -1)) / 2, v(0, 0)
    xx, yy, xy = (v(2, 0) - 2 * c + v(-2, 0)) / 4, (v(0, 2) - 2 * c
                                                    + v(0, -2)) / 4, (v(1, 1) - v(-1, 1) - v(1, -1) + v(-1, -1)) / 4
    inside, det = (x > 1) & (x < W - 2) & (y > 1) & (y < H - 2), xx * yy - xy * xy
    det = np.where(inside, det, 1)
    return np.stack([x, y], -1) - np.stack([yy * gx - xy * gy, xx * gy - xy * gx],
                                           -1) / det[..., None] * inside[..., None]


def vote_np(h):
    from scipy.ndimage import gaussian_filter
    disc, dx, dy = h[:, :K], h[:, K:2 * K], h[:, 2 * K:]
    x, y = top_np(gaussian_filter(disc, (0, 0, R / 2, R / 2), mode="constant",
                                  radius=(0, 0, int(1.5 * R + .5), int(1.5 * R + .5))))
    r = int(R + .5)
    d = np.arange(-r, r + 1)
    i, j = y[..., None, None] + d[:, None], x[..., None, None] + d
    inside = (i >= 0) & (i < H) & (j >= 0) & (j < W)
    b, k = np.ogrid[:h.shape[0], :K]
    read = lambda a: a[b[..., None, None], k[..., None, None], i.clip(0, H - 1), j.clip(0, W - 1)]
    w = read(disc).clip(0) * inside * np.exp(-(d[:, None] ** 2 + d ** 2) / (2 * (R / 2) ** 2))
    return np.stack([(w * (j + R * read(dx))).sum((-1, -2)), (w * (i + R * read(dy))).sum((-1, -2))],
                    -1) / np.maximum(w.sum((-1, -2)), 1e-6)[..., None]


ONE = dict(gaussian=(bump_one, quarter_one, 4), rounded=(lambda x, y: bump_one(round(x), round(y)), quarter_one, 4),
           dark=(bump_one, dark_one, 4),
           udp=(bump_one, dark_one, UNIT), udp_offset=(disc_one, vote_one, UNIT))
NUMPY = dict(gaussian=(bumps_np, quarter_np), rounded=(lambda c: bumps_np(np.floor(c + .5)), quarter_np),
             dark=(bumps_np, dark_np), udp=(bumps_np, dark_np),
             udp_offset=(discs_np, vote_np))


def clock(f, rounds, sync):
    "Seconds of the fastest of several rounds, and the last answer"
    best = math.inf
    for _ in range(rounds + 1):
        sync()
        start = time.perf_counter()
        out = f()
        sync()
        best = min(best, time.perf_counter() - start)
    return best, out


def compare(name, people, rounds, device):
    "One codec three ways: checked against each other, then timed"
    codec, (enc1, dec1, unit), (encn, decn) = build_codec(name, S, STRIDE), ONE[name], NUMPY[name]
    rng = np.random.default_rng(0)
    xy = (rng.uniform(.15, .85, (people, K, 2)) * [W * STRIDE, H * STRIDE]).astype(np.float32)
    c = (xy / unit).astype(np.float32)
    there, vis = torch.from_numpy(xy).to(device), torch.full((people, K), 2, device=device)
    sync = torch.cuda.synchronize if device != "cpu" else lambda: None
    t = {}
    t["encode"], (heat, _) = clock(lambda: codec.encode(there, vis, (H, W)), rounds, sync)
    # a network's maps are never clean
    noisy = (heat.cpu() + .01 * torch.randn(heat.shape, generator=torch.Generator().manual_seed(0))).to(device)
    h = noisy.cpu().numpy()
    maps = (lambda b, k: (h[b, k], h[b, K + k], h[b, 2 * K + k])) if codec.planes == 3 else (lambda b, k: h[b, k])
    t["decode"], (found, _) = clock(lambda: codec.decode(noisy), rounds, sync)
    t["encode one"], one = clock(lambda: np.array([[enc1(*p) for p in ps] for ps in c]), 1, lambda: None)
    t["encode numpy"], alln = clock(lambda: encn(c), rounds, lambda: None)
    t["decode one"], dec_one = clock(lambda: np.array([[dec1(maps(b, k)) for k in range(K)] for b in range(people)])
                                     * unit, 1, lambda: None)
    t["decode numpy"], dec_n = clock(lambda: decn(h) * unit, rounds, lambda: None)
    one = one.transpose(0, 2, 1, 3, 4).reshape(alln.shape) if codec.planes == 3 else one
    for a, b, close in ((one, alln, 1e-3), (alln, heat.cpu().numpy(), 1e-3), (dec_one, dec_n, .02),
                        (dec_n, found.cpu().numpy(), .02)):
        far = np.abs(a - b)
        # steps differ where Newton runs further than a pixel
        assert np.quantile(far, .995) < close, f"{name}: the three versions disagree, {far.max():.4f}"
    ms = {k: 1e3 * v / people for k, v in t.items()}
    return dict(codec=name, **{k: round(v, 4) for k, v in ms.items()},
                **{f"{d} ratio {w}": round(ms[f"{d} {w}"] / ms[d], 2) for d in ("encode", "decode")
                   for w in ("one", "numpy")})


# ---- pairs, round by round ----

def offsets_by_joint(c):
    "Discs and ways as mmpose 1.x draws them: joint by joint, each over the whole map"
    heat = np.zeros((len(c), K, 3, H, W), np.float32)
    x, y = np.arange(W, dtype=np.float32), np.arange(H, dtype=np.float32)[:, None]
    for b in range(len(c)):
        for k in range(K):
            dx, dy = (c[b, k, 0] - x) / R, (c[b, k, 1] - y) / R
            near = np.where(dx ** 2 + dy ** 2 <= 1)
            heat[b, k, 0][near] = 1
            heat[b, k, 1][near] = np.broadcast_to(dx, (H, W))[near]
            heat[b, k, 2][near] = np.broadcast_to(dy, (H, W))[near]
    return heat


def versus(ours, theirs, rounds):
    "Ratios of processor time, ours / theirs, round by round"
    out = []
    for _ in range(rounds + 1):
        at = [time.process_time()]
        for f in (ours, theirs):
            f()
            at.append(time.process_time())
        out.append((at[1] - at[0]) / (at[2] - at[1]))
    return np.array(sorted(out[1:]))      # the first round warms up


def pairs(rounds, people=1000):
    "What the codecs are held to on one core"
    gen = torch.Generator().manual_seed(0)
    heat = torch.rand(people, K, H, W, generator=gen)
    quarter, offsets, plain = (build_codec(n, S, STRIDE) for n in ("gaussian", "udp_offset", "gaussian"))
    place = lambda n, k: (torch.rand(n, k, 2, generator=gen) * 180 + 4, torch.full((n, k), 2))
    few, many, some = place(32, 17), place(32, 133), place(64, 17)
    flat = (some[0].numpy() / UNIT).astype(np.float32)
    h, (noisy, _) = heat.numpy(), offsets.encode(*some, (H, W))
    yield f"quarter shift, {people:,} people / numpy", lambda: quarter.decode(heat), lambda: quarter_np(h) * STRIDE
    yield "offsets, encoding / joint by joint", lambda: offsets.encode(*some, (H, W)), lambda: offsets_by_joint(flat)
    yield "offsets, encoding / numpy", lambda: offsets.encode(*some, (H, W)), lambda: discs_np(flat)
    yield "offsets, decoding / numpy", lambda: offsets.decode(noisy), lambda: vote_np(noisy.numpy())
    yield "133 joints / 17 joints", lambda: plain.encode(*many, (H, W)), lambda: plain.encode(*few, (H, W))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--people", type=int, default=64)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--device", default="cpu")
    p.add_argument("--json", action="store_true", help="one JSON line per codec")
    p.add_argument("--versus", action="store_true", help="pairs, round by round, at least 7 rounds")
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.versus:
        print(f"{'processor time of semipose / of':<42}{'min':>8}{'median':>8}{'max':>8}")
        for name, ours, theirs in pairs(rounds := max(a.rounds, 7)):
            r = versus(ours, theirs, rounds)
            print(f"{name:<42}{r[0]:>8.2f}{np.median(r):>8.2f}{r[-1]:>8.2f}")
        return
    rows = [compare(name, a.people, a.rounds, a.device) for name in ONE]
    if a.json: return print("\n".join(map(json.dumps, rows)))
    where = "one core" if a.device == "cpu" else torch.cuda.get_device_name()
    print(f"ms a person of {K} joints, {H}x{W} heatmaps, {a.people} people at once; semipose on {where}, numpy on one "
          "core; ratio = that version / semipose\n")
    print(f"{'':<11}{'':>7} {'one by one':>11} {'numpy':>8} {'semipose':>9}   {'ratios':>13}")
    for r in rows:
        for d in ("encode", "decode"):
            ms, ratio = (r[d + " one"], r[d + " numpy"], r[d]), (r[d + " ratio one"], r[d + " ratio numpy"])
            print(f"{r['codec'] if d == 'encode' else '':<11}{d:>7} {ms[0]:>11.3f} {ms[1]:>8.3f} {ms[2]:>9.4f} "
                  f"  {ratio[0]:>6.2f} {ratio[1]:>6.2f}")


if __name__ == "__main__": main()
