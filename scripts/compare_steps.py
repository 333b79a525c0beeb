#!/usr/bin/env python3
"""Are the steps of every row what they were in an earlier revision, to the bit, on this machine?

    python scripts/compare_steps.py REV [--only posecons,sspcm] [--train 20]

Of both trees, each in a process of its own: every picture that a network was shown (so the views' luck, and who is asked in which order), named losses, gradients, and
all weights, averages and copies after three steps of Adam; then a few rows with other networks, encodings, skeletons and in reduced precision; then `--train` steps of
three rows. Prints one line for each that differs, and whether all are equal.
"""
import argparse, json, os, subprocess, sys, tempfile
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def cases(only, train):
    "name -> a function that makes the steps"
    from steps import FIRST, People, build, confident, rows, steps_of
    import torch
    from semipose.codecs import build_codec
    from semipose.methods import METHODS
    from semipose.nets.mspn import MSPN
    from semipose.skeletons import COCO17

    def some(name, m, start=FIRST, n=3, **kw): return name, lambda: steps_of(m, start, n, lr=1e-3, **kw)
    def low(name, m):
        def go():
            with torch.autocast("cpu", torch.bfloat16): return steps_of(m, FIRST, 2, lr=1e-3)
        return name, go
    def mspn(): return [confident(i, make=MSPN, stages=1, width=16) for i in range(2)]
    def offsets(m):
        codec = build_codec("udp_offset", 1.5, 2)
        return dict(codec=codec, peers=build(m, [confident(i, 17 * codec.planes) for i in range(m.nets)]))
    rows_ = [some(n, m, start) for n, (m, start) in rows().items()]
    out = rows_ + [low(f"{n}, bf16", METHODS[n]) for n in ("naive", "posecons", "posedual_jc", "mean_teacher", "sspcm", "data_distillation", "posecons_jc_drawn_kept")]
    for n in ("naive", "posedual_jc", "posecons_kept", "sspcm", "data_distillation", "threshold_04"):
        out.append(some(f"{n}, offsets", METHODS[n], **offsets(METHODS[n])))
    out += [some(f"{n}, joined", METHODS[n], peers=build(METHODS[n], joined=True)) for n in ("naive", "posedual_jc", "multiaugs")]
    out += [some(f"{n}, no mirror", METHODS[n], skeleton=replace(COCO17, mirror=False)) for n in ("posedual_jc", "data_distillation")]
    out += [some("naive, hides", replace(METHODS["naive"], student_views=METHODS["posecons_jc"].student_views)),
            some("dual multi teacher", replace(METHODS["posedual"], teacher_view=METHODS["data_distillation"].teacher_view[:3]))]
    out.append(some("posedual_jc, mspn", METHODS["posedual_jc"], n=2, size=(64, 32), codec=build_codec("gaussian", 1.5, 4), peers=build(METHODS["posedual_jc"], mspn())))
    if train:
        for n in ("naive", "posedual_jc", "sspcm"):
            out.append((f"{n}, {train} steps", lambda n=n: steps_of(METHODS[n], 0, train, lr=3e-3, size=(64, 48), people=People((64, 48), 8))))
    return {n: go for n, go in out if not only or n.split(",")[0] in only}


def hashes(only, train):
    import torch
    from steps import exact
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    out = {}
    for name, go in cases(only, train).items():
        try: out[name] = exact(*go())
        except Exception as e: out[name] = dict(error=f"{type(e).__name__}: {str(e).splitlines()[-1][:160]}")
    return out


def ask(tree, only, train, out):
    "The hashes of one tree, from a process that imports it"
    env = os.environ | dict(PYTHONPATH=os.pathsep.join((str(tree), str(HERE/"tests"))), OMP_NUM_THREADS="1")
    subprocess.run([sys.executable, "-W", "ignore", __file__, "--hashes", out, "--train", str(train), "--only", only], env=env, check=True, cwd=tree)
    return json.loads(Path(out).read_text())


def first(a, b):
    "What differs first"
    if "error" in a or "error" in b: return f"{a.get('error', 'none')} / {b.get('error', 'none')}"
    for k, (s, t) in enumerate(zip(a["steps"], b["steps"])):
        for what in ("shown", "terms", "loss", "grads"):
            if s[what] != t[what]: return f"step {k}: {what}"
    return "weights after the steps"


def main():
    a = argparse.ArgumentParser()
    a.add_argument("rev", nargs="?")
    a.add_argument("--only", default="")
    a.add_argument("--train", type=int, default=20)
    a.add_argument("--hashes", default="")
    a = a.parse_args()
    if a.hashes:
        Path(a.hashes).write_text(json.dumps(hashes([n for n in a.only.split(",") if n], a.train)))
        return
    git = lambda *args: subprocess.run(["git", "-C", str(HERE), *args], check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as tmp:
        then = Path(tmp)/"then"
        git("worktree", "add", "--detach", str(then), a.rev)
        try: old, new = (ask(tree, a.only, a.train, str(Path(tmp)/f"{k}.json")) for k, tree in enumerate((then, HERE)))
        finally: git("worktree", "remove", "--force", str(then))
    odd = [n for n in old.keys() & new.keys() if old[n] != new[n]]
    for n in sorted(odd): print(f"{n}: {first(old[n], new[n])}")
    for n in sorted(old.keys() ^ new.keys()): print(f"{n}: only {'then' if n in old else 'now'}")
    broken = [n for n in new if "error" in new[n]]
    for n in broken: print(f"{n}: not run, {new[n]['error']}")
    equal = [n for n in new if n in old and n not in odd and n not in broken]
    print(f"{len(equal)} of {len(new)} equal to the bit in both trees")
    sys.exit(bool(odd or broken or old.keys() - new.keys()))


if __name__ == "__main__": main()
