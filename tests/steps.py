"Steps through the real loop, on a few synthetic people: what networks were shown, losses by name, gradients, weights"
import hashlib

import torch
from fastai.callback.core import Callback
from semipose.codecs import Gaussian
from semipose.data import synth
from semipose.geometry import roomy
from semipose import loop
from semipose.loop import fit, learner
from semipose.methods import METHODS
from semipose.nets.peers import Peers
from semipose.nets.simple import Tiny
from semipose.skeletons import COCO17
from semipose.watch import Watch

# scripts/compare_steps.py runs these steps in earlier revisions too, where `make_people` had another name
make_people = getattr(synth, "make_people", None) or synth.draw_people

SIZE, CODEC, B = (32, 24), Gaussian(sigma=1.5, stride=2), 4
SUPERVISED = torch.ones(17); SUPERVISED[0] = 0                  # nobody labels the nose
FIRST = 1000                                                    # the step that begins: some teachers wait so long


class People:
    "Batch k is a function of k alone"
    def __init__(self, size=SIZE, n=B): self.size, self.n = size, n
    def from_step(self, k):
        while True:
            d = make_people(torch.arange(2 * self.n) + 2 * self.n * k, seed=3, size=roomy(self.size))
            vis = d.vis[:self.n, 0].clone(); vis[:, 0] = 0
            yield dict(labeled=d.image[:self.n], unlabeled=d.image[self.n:]), dict(xy=d.xy[:self.n, 0], vis=vis)
            k += 1


def confident(i, joints=17, make=Tiny, **kw):
    "A network whose first answers are high enough to count"
    torch.manual_seed(i)
    net = make(joints, **(kw or dict(width=6, levels=2)))
    if hasattr(net, "final"):
        torch.nn.init.normal_(net.final.weight, std=.12)
        torch.nn.init.uniform_(net.final.bias, -.2, .35)
    return net


def build(m, nets=None, **kw):
    "Networks, and copies that are not what they were copied from"
    peers = Peers(nets or [confident(i) for i in range(m.nets)], **m.copies, **kw)
    for copies in (peers.ema, peers.frozen):
        for p in copies.parameters() if copies is not None else ():
            p.data += .02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    return peers


class Notes(Callback):
    "What happened in each step"
    order = 900
    def __init__(self): self.steps = []
    def after_batch(self): self.shown = hashlib.sha256()
    def show(self, net, args): self.shown.update(args[0].detach().contiguous().cpu().numpy().tobytes())
    def before_fit(self):
        self.shown = hashlib.sha256()
        kinds = self.model.nets, self.model.ema, self.model.frozen
        self.hooks = [n.register_forward_pre_hook(self.show) for k in kinds for n in k or ()]
    def after_fit(self):
        for h in self.hooks: h.remove()
    def before_step(self):
        grads = {n: p.grad.detach().clone() for n, p in self.model.named_parameters() if p.grad is not None}
        self.steps.append(dict(shown=self.shown.hexdigest(), loss=self.loss.detach().double().item(), grads=grads))


def steps_of(m, start=FIRST, n=2, lr=0., peers=None, codec=CODEC, size=SIZE, skeleton=COCO17, people=None, **kw):
    "(one dict a step: shown, loss, grads and the named terms; the networks after the last)"
    notes, watch = Notes(), Watch(lambda model: {}, first=False, select="")
    how = dict(every=1, lr=lr, lam=2., seed=2, start=start, **kw)
    if hasattr(loop, "Training"): how = dict(how=loop.Training(**how))   # earlier revisions take each number by name
    learn = learner(peers or build(m), m, people or People(size), codec, size, skeleton, SUPERVISED, cbs=[notes, watch],
                    **how)
    fit(learn, start + n, "constant")
    rows = [r for r in watch.rows if r["step"] > start]     # fastai passes over the epochs before the first step
    for step, row in zip(notes.steps, rows, strict=True):
        step["terms"] = {k: v for k, v in row.items() if k not in ("step", "seconds")}
    return notes.steps, learn.model


def rows():
    "name -> (method, first step): every row, and where a teacher waits, once more before its copies are taken"
    waiting = {f"{n} before": (m, FIRST - 2) for n, m in METHODS.items() if m.every}
    return {n: (m, FIRST) for n, m in METHODS.items()} | waiting


def sketch(step):
    "A step in a few numbers; of each parameter's gradient its size, and how far it goes along two random directions"
    def along(g):
        generator = torch.Generator().manual_seed(g.numel())
        return torch.randn(2, g.numel(), generator=generator, dtype=torch.float64) @ g.double().flatten()
    grads = [[float(g.double().norm()), *along(g).tolist()] for g in step["grads"].values()]
    return dict(loss=step["loss"], terms=step["terms"], grads=grads)


def digest(tensors):
    "A hash of names and values"
    parts = [n.encode() + t.detach().contiguous().cpu().numpy().tobytes() for n, t in tensors.items()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def exact(steps, model):
    "Everything of these steps, to the bit"
    def one(s):
        terms = {k: float(v).hex() for k, v in s["terms"].items()}
        return dict(shown=s["shown"][:12], loss=s["loss"].hex(), terms=terms, grads=digest(s["grads"]))
    return dict(steps=[one(s) for s in steps], model=digest(model.state_dict()))
