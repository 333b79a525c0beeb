"Laws of watch and loop: measuring changes nothing, one seed is one run, equal start means equal start, files are whole"
import math, pytest, torch, weakref
from types import SimpleNamespace as NS
from torch.testing import assert_close
from fastai.callback.core import (Callback, CancelBatchException, CancelEpochException, CancelFitException,
                                  CancelTrainException)
from semipose.codecs import Gaussian
from semipose.errors import UserError
from semipose.geometry import roomy
from semipose.loop import SCHEDULES, Restore, Training, fit, learner, load_weights, save_state, save_weights
from semipose.methods import METHODS
from semipose.nets.peers import Peers
from semipose.nets.simple import Tiny
from semipose.skeletons import COCO17
from semipose.teaching import Teaching
from semipose.watch import Watch, collapsed, foreground, mean_peak, peak_histogram

SIZE, CODEC = (32, 32), Gaussian(sigma=1.5, stride=2)

class Noise:
    "A stream of noise: batch s depends on s alone"
    def __init__(self): self.asked = []
    def from_step(self, k):
        while True:
            self.asked.append(k)
            g = torch.Generator().manual_seed(k)
            x = {n: torch.randint(0, 255, (4, 3, *roomy(SIZE)), dtype=torch.uint8, generator=g)
                 for n in ('labeled', 'unlabeled')}
            yield x, dict(xy=torch.rand(4, 17, 2, generator=g)*32 + 8, vis=torch.full((4, 17), 2))
            k += 1

def make(name='posedual_jc', every=3, seed=0, lr=1e-3, cbs=(), start=0, **kw):
    m = METHODS[name]
    torch.manual_seed(seed)
    peers = Peers([Tiny(width=8, levels=2) for _ in range(m.nets)], ema=bool(m.decay))
    how = Training(every=every, lr=lr, seed=seed, start=start, **kw)
    return learner(peers, m, Noise(), CODEC, SIZE, COCO17, torch.ones(17), how, cbs)

def state(learn): return {k: v.clone() for k,v in learn.model.state_dict().items()}
def same(a, b): return all(torch.equal(a[k], b[k]) for k in a)

@pytest.mark.parametrize('name', METHODS)
def test_every_method_trains_and_moves_all_its_networks(name):
    learn = make(name)
    before = state(learn)
    fit(learn, 3)
    assert learn.teaching.step == 3
    for i in range(METHODS[name].nets):
        assert not torch.equal(before[f'nets.{i}.final.weight'], learn.model.state_dict()[f'nets.{i}.final.weight'])
    assert all(math.isfinite(float(v)) for v in learn.teaching.terms.values())

def test_one_seed_is_one_run_and_another_seed_another():
    a, b, c = state(fit(make(), 6)), state(fit(make(), 6)), state(fit(make(seed=1), 6))
    assert same(a, b) and not same(a, c)

def test_measuring_changes_nothing():
    "a run watched often equals a run watched once, bit for bit; the global random state is left alone"
    def nosy(model):
        assert not model.training and not torch.is_grad_enabled()
        torch.rand(7); model.nets[0](torch.rand(2, 3, *SIZE))
        return dict(ap=0.)
    a = state(fit(make(every=6), 6))
    b = state(fit(make(every=2, cbs=[Watch(nosy)]), 6))
    assert same(a, b)

def test_batches_come_in_order_across_intervals():
    learn = make('supervised', every=2)
    fit(learn, 6)
    assert learn.dls.train.stream.asked[:6] == list(range(6))

def test_the_optimiser_is_torchs_adam():
    "three steps of the loop equal three steps written out with torch.optim.Adam at the published settings"
    from semipose.teaching import Teaching, one_batch
    learn = make('supervised', every=3, lr=1e-2)
    twin = Peers([Tiny(width=8, levels=2)]).to(memory_format=torch.channels_last)
    twin.load_state_dict(learn.model.state_dict()); twin.train()
    fit(learn, 3, 'constant')
    opt = torch.optim.Adam(twin.parameters(), lr=1e-2)
    t = Teaching(METHODS['supervised'], CODEC, SIZE, COCO17, torch.ones(17), seed=0)
    for (x, y), _ in zip(Noise().from_step(0), range(3)):
        loss = one_batch(t, twin, x, y)[-1]
        opt.zero_grad(); loss.backward(); opt.step(); t.step += 1
    for k, v in twin.state_dict().items(): assert_close(learn.model.state_dict()[k], v, atol=1e-6, rtol=1e-5, msg=k)

def test_rows_say_step_losses_and_seconds():
    w = Watch(lambda m: dict(ap=1.))
    fit(make(every=2, cbs=[w]), 4)
    assert [r['step'] for r in w.rows] == [0, 2, 4]
    assert 'sup1' not in w.rows[0] and w.rows[2]['cons2'] > 0 and w.rows[1]['seconds'] <= w.rows[2]['seconds']

class Rows(Callback):
    "How many rows there are after each step"
    def __init__(self, watch, out): self.seen, self.out = watch, out
    def after_batch(self): self.out.append(len(self.seen.rows))

def test_first_weights_are_measured_late_to_the_same_rows():
    "Steps begin at once; the training and every number of every row are those of a run that measured first"
    def evaluate(model):
        with torch.no_grad(): heat = model.nets[0](torch.full((2, 3, *SIZE), .5))
        return dict(ap=float(heat.double().abs().sum()))
    runs = []
    for late in (False, True):
        asked = []
        w = Watch(evaluate, late=late)
        learn = fit(make(every=2, cbs=[w, Rows(w, asked)]), 6)
        assert asked[:2] == [int(not late)]*2 and asked[2] == 2
        runs.append((state(learn), [{k: v for k, v in r.items() if k != 'seconds'} for r in w.rows]))
        assert w.rows[0]['seconds'] < .5 and w.rows[0]['ap'] != w.rows[1]['ap'] and w.kept is None
    assert same(runs[0][0], runs[1][0]) and runs[0][1] == runs[1][1]

def test_best_is_the_highest_and_is_announced_when_it_happens():
    values, kept = iter([1., 5., 3., 4.]), []
    w = Watch(lambda m: dict(ap=next(values)), on_best=lambda model, row: kept.append(row['step']))
    fit(make(every=1, cbs=[w]), 3)
    assert w.best['ap'] == 5. and w.best['step'] == 1 and kept == [0, 1]

def test_a_loss_that_is_no_number_stops_with_one_sentence():
    learn = make('supervised', cbs=[Watch(lambda m: dict(ap=0.))])
    with torch.no_grad(): learn.model.nets[0].final.bias += float('nan')
    with pytest.raises(UserError, match="'sup1' is nan at step 1"): fit(learn, 3)

def test_steps_must_be_whole_intervals():
    with pytest.raises(UserError, match='7 steps are not a whole number of evaluation intervals of 3'): fit(make(), 7)

def test_schedules():
    f = SCHEDULES['milestones'](1.)
    assert [round(f(p), 6) for p in (0., .66, .67, .83, .84)] == [1., 1., .1, .1, .01]
    f = SCHEDULES['onecycle'](1.)
    assert abs(f(.25) - 1) < 1e-6 and f(0.) < .05 and f(1.) < 1e-3

def test_average_follows_along():
    learn = make('mean_teacher_99')
    fit(learn, 3)
    e, n = learn.model.ema[0].final.weight, learn.model.nets[0].final.weight
    assert not torch.equal(e, n) and not e.requires_grad

# numbers of a collapse

def test_peaks_leave_out_what_nothing_supervises():
    heat = torch.zeros(3, 4, 5, 5); heat[:,0,2,2] = .8; heat[:,3] = 7.
    assert abs(mean_peak(heat, torch.tensor([1, 1, 0, 0])) - .4) < 1e-6
    assert abs(foreground(heat, torch.tensor([1, 0, 0, 0])) - 1/25) < 1e-6
    h = peak_histogram(torch.tensor([-.1, .02, .51, .99, 1.7]))
    assert abs(sum(h) - 1) < 1e-6 and abs(h[0] - .4) < 1e-6 and abs(h[-1] - .4) < 1e-6
    assert (collapsed([dict(peak_unlabeled=.9), dict(peak_unlabeled=.29)])
            and not collapsed([dict(peak_unlabeled=.9), dict(peak_unlabeled=.31)]))

# files

def test_weights_round_trip_and_are_whole_or_absent(tmp_path, monkeypatch):
    a, b = Peers([Tiny(width=8)], ema=True), Peers([Tiny(width=8)], ema=True)
    file = save_weights(a, tmp_path/'w.safetensors', dict(step=3))
    load_weights(b, file)
    assert same(a.state_dict(), b.state_dict())
    old = file.read_bytes()
    def full(*a): raise OSError(28, 'No space left on device')
    monkeypatch.setattr('semipose.files.os.replace', full)
    with pytest.raises(UserError, match='The disk is full: .*w.safetensors could not be written, and the older one is '
                                        'kept'):
        save_weights(a, file)
    assert file.read_bytes() == old and [p.name for p in tmp_path.iterdir()] == ['w.safetensors']

@pytest.mark.parametrize('damage, says', [(lambda f: f.unlink(), 'no weights file'),
                                          (lambda f: f.write_bytes(b'x'*99), 'cannot be read')])
def test_bad_weight_files_are_one_sentence(tmp_path, damage, says):
    file = save_weights(Peers([Tiny(width=8)]), tmp_path/'w.safetensors')
    damage(file)
    with pytest.raises(UserError, match=says): load_weights(Peers([Tiny(width=8)]), file)

def test_weights_of_another_network_name_the_first_misfit(tmp_path):
    file = save_weights(Peers([Tiny(width=8)]), tmp_path/'w.safetensors')
    with pytest.raises(UserError, match='for another network'): load_weights(Peers([Tiny(width=16)]), file)
    with pytest.raises(UserError, match='for another network'): load_weights(Peers([Tiny(width=8)], ema=True), file)

def test_weight_decay_shrinks_and_none_does_not():
    "AdamW's decay: with a gradient of zero, a weight loses lr*wd of itself at each step"
    for wd, kept in ((0., 1.), (.1, 1 - 1e-2*.1)):
        learn = make('supervised', lr=1e-2, optimiser='adamw', wd=wd)
        learn.create_opt()
        p = learn.model.nets[0].stem[0].weight
        before, p.grad = p.detach().clone(), torch.zeros_like(p)
        learn.opt.set_hypers(lr=1e-2)
        learn.opt.step()
        assert_close(p.detach(), before*kept)

def test_a_loss_that_is_no_number_names_step_and_term():
    "one sentence, without what fastai puts before it"
    with pytest.raises(UserError, match=r"^The loss term 'sup1' is (nan|inf) at step [2-9]: lower the learning rate"):
        fit(make('supervised', every=10, lr=1e30, cbs=[Watch(lambda m: dict(ap=0.))]), 10, 'constant')

def test_milestones_are_the_budgets():
    "70 and 90 of 100 epochs: the learning rate falls with the first step after each, and nowhere else"
    learn, seen = make(every=2), []
    class See(Callback):
        def after_batch(self): seen.append(round(self.opt.hypers[-1]['lr']/learn.lr, 6))
    learn.add_cb(See())
    fit(learn, 20, 'milestones', (.7, .9))
    assert seen == [1.]*14 + [.1]*4 + [.01]*2
    assert [round(SCHEDULES['milestones'](1., (.5,))(p), 6) for p in (.49, .5, 1.)] == [1., .1, .1]
    for s in ('constant', 'onecycle'):
        assert SCHEDULES[s](1., (.1,))(.3) == SCHEDULES[s](1.)(.3), 'milestones are of one schedule only'

# a step that breaks off

def halves():
    "Losses of a small training under autocast"
    torch.manual_seed(0)
    net, x, losses = torch.nn.Linear(8, 8), torch.randn(16, 8), []
    opt = torch.optim.SGD(net.parameters(), lr=.5)
    for _ in range(3):
        with torch.autocast('cpu', torch.bfloat16): loss = net(x).float().square().mean()
        opt.zero_grad(); loss.backward(); opt.step()
        losses.append(loss.item())
    return losses

def breaks(event, error, at=1, after=Teaching):
    "A callback that raises in step `at`"
    cb = Callback()
    def happen():
        if cb.learn.teaching.step == at: raise error
    cb.order = after.order + 1
    setattr(cb, event, happen)
    return cb

@pytest.mark.parametrize('event', ['before_batch', 'forward', 'after_pred', 'after_loss', 'after_backward'])
@pytest.mark.parametrize('error', [UserError('here'), KeyboardInterrupt(), torch.cuda.OutOfMemoryError('here')],
                         ids=lambda e: type(e).__name__)
@pytest.mark.filterwarnings('ignore')   # without a GPU, torch says so
def test_a_step_that_breaks_off_leaves_nothing_behind(event, error):
    """the next training in the process sees the weights that it moves, and no gradient or scale of the step that
    broke off"""
    want = halves()
    assert want[0] > want[1] > want[2]
    learn = make(amp=True, cbs=[] if event == 'forward' else [breaks(event, error)])
    if event == 'forward':
        def stop(*_):
            if learn.teaching.step == 1: raise error
        learn.model.nets[1].register_forward_hook(stop)
    with pytest.raises(type(error)): fit(learn, 3)
    assert learn.teaching.step == 1 and halves() == want
    assert learn.scaler is None and all(p.grad is None for p in learn.model.parameters())

@pytest.mark.parametrize('error', [CancelBatchException, CancelTrainException, CancelEpochException,
                                   CancelFitException])
@pytest.mark.filterwarnings('ignore')
def test_a_cancelled_step_leaves_nothing_behind(error):
    want, learn, seen = halves(), make(amp=True, every=1), []
    class Cancel(Callback):
        order = Teaching.order + 1
        def after_pred(self): raise error
        def look(self): seen.append(halves())
        after_batch = after_epoch = after_fit = look
    learn.add_cb(Cancel())
    fit(learn, 2)
    assert seen and all(s == want for s in seen)

class Afar(Callback):
    "The loss as a GPU gives it: whoever looks at it waits"
    order = Watch.order - 1
    def after_loss(self): self.learn.loss = NS(device=NS(type='cuda'))

@pytest.mark.parametrize('every, at', [(3, 1), (3, 2), (24, 22)])
def test_no_interval_ends_with_a_loss_that_is_no_number(every, at):
    """where not every step is looked at, the end of an interval is: such a row is not written, nor what a run is
    taken up from"""
    class Bad(Callback):
        order = Teaching.order + 1
        def after_pred(self):
            if self.learn.teaching.step == at:
                self.learn.teaching.terms, self.learn.pred = dict(sup1=self.pred*float('nan')), self.pred*float('nan')
    w = Watch(lambda m: dict(ap=0.))
    learn = make('supervised', every=every, cbs=[Afar(), Bad(), w])
    begun = state(learn)
    with pytest.raises(UserError, match=f"^The loss term 'sup1' is nan at step {every}: "): fit(learn, 2*every)
    assert [r['step'] for r in w.rows] == [0]
    learn.remove_cbs([Bad]); learn.model.load_state_dict(begun); learn.create_opt()   # mended, from the beginning
    learn.teaching.step = 0
    fit(learn, every)
    assert [r['step'] for r in w.rows] == [0, every] and all(math.isfinite(v) for v in w.rows[1].values())

def test_a_resumed_run_lets_go_of_its_file(tmp_path):
    "weights, moments and pictures of the state are gone with the first step, and a second fit goes on"
    class Keep(Callback):
        order = Watch.order + 1
        def after_epoch(self):
            if self.learn.teaching.step == 3: save_state(self.learn, tmp_path/'s', pictures=torch.rand(9))
    whole = fit(make(cbs=[Keep()]), 9)
    old, alive = Restore(tmp_path/'s'), []
    refs = [weakref.ref(t) for t in old.tensors.values() if t.numel() > 1]
    class See(Callback):
        def before_batch(self): alive.append(sum(r() is not None for r in refs))
    assert len(refs) > 50 and 'pictures' in old.extra
    learn = make(seed=0, start=3, cbs=[old, See()])
    with torch.no_grad(): learn.model.nets[0].final.weight += 1
    fit(learn, 6, 'constant')
    assert alive == [0]*3
    fit(learn, 9, 'constant')
    assert learn.teaching.step == 9 and not same(state(whole), state(make()))


def test_how_a_training_ended():
    """by both rules, re-estimated peaks first, network 1's AP where there are several; an AP that began at nothing
    says nothing"""
    from semipose.watch import outcome, peak_key, peak_share
    start = dict(peak_unlabeled=.6, peak_reestimated=.6, ap=40., ap1=40.)
    rows = lambda peak=.6, fresh=.6, ap=40., ap1=40.: [
        start, dict(peak_unlabeled=peak, peak_reestimated=fresh, ap=ap, ap1=ap1)]
    assert [outcome(rows(fresh=p)) for p in (.19, .21, .39, .41)] == ["collapsed", "faded", "faded", "held"]
    assert [outcome(rows(ap1=a)) for a in (19.9, 20.1, 35.9, 36.1)] == ["collapsed", "faded", "faded", "held"]
    assert (outcome(rows(peak=.01)) == "held" == outcome(rows(ap=1.)) and collapsed(rows(fresh=.1))
            and not collapsed(rows(peak=.1)))
    assert outcome([dict(peak_unlabeled=.6, ap=.2), dict(peak_unlabeled=.6, ap=0.)]) == "held"
    old = [dict(peak_unlabeled=.6, ap=40.), dict(peak_unlabeled=.3, peak_reestimated=.6, ap=40.)]
    assert peak_key(old) == "peak_unlabeled" and peak_share(old) == .5 and outcome(old) == "faded"


def test_statistics_are_those_of_the_pictures_alone():
    from semipose.nets.peers import build_peers
    from semipose.predict import reestimated
    peers = build_peers("tiny", joints=3, net=dict(width=8)).train()
    x = [torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    for _ in range(20): peers.nets[0](x[0]*0 + .9)                      # running statistics of something else
    before = {k: v.clone() for k, v in peers.state_dict().items()}
    [fresh] = reestimated(peers, x)
    # the same weights, through each batch's own statistics
    same = build_peers("tiny", joints=3, net=dict(width=8)).nets[0].train()
    with torch.no_grad():
        own, new, running = (torch.cat([net(b) for b in x]) for net in (same, fresh, peers.nets[0].eval()))
    assert (new - own).abs().mean() < .2*(running - own).abs().mean()
    assert not fresh.training and all(torch.equal(v, before[k]) for k, v in peers.state_dict().items())
