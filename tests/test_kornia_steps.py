"A step of kornia's in a row of one's own: trained, resumed to the bit, written down; and in views of several frames"
import json
from dataclasses import replace
from pathlib import Path
import kornia.augmentation as K
import pytest
import torch
from safetensors.torch import load_file
from semipose import Kornia
from semipose.along import several
from semipose.methods import METHODS, add, line_of, Row
from semipose.protocols import protocol
from semipose.run import prepare, train
from semipose.teaching import Teaching
from semipose.views import A30, A60, plain, render

SAMPLE = Path(__file__).parents[1]/'data'/'sample'
SMALL = replace(protocol('demo'), name='small', title='small', data=None, labels=8, size=(32, 32), width=8,
                batch=(4, 4), start_steps=0, start_every=None, steps=4, every=2)
KW = dict(device='cpu', progress=False)


@pytest.fixture
def row():
    from semipose import methods
    kept = dict(methods.METHODS), dict(methods.ROWS), {k: dict(v) for k, v in methods.GROUPS.items()}
    view = Kornia(K.ColorJiggle(.3, .3, .3, .1)) >> Kornia(K.RandomShear(20., p=.5)) >> A60
    add('mine', Row('jiggled', 'PoseCons, jiggled', replace(METHODS['posecons'], student_views=(view,))))
    yield 'jiggled'
    for table, was in zip((methods.METHODS, methods.ROWS, methods.GROUPS), kept):
        table.clear()
        table.update(was)


def test_a_row_with_a_step_of_kornia_s_goes_on_to_the_bit(row, tmp_path, monkeypatch):
    data = prepare(SMALL, SAMPLE, 0, progress=False)
    whole = train(row, SMALL, data, tmp_path/'whole', **KW)
    again = train(row, SMALL, data, tmp_path/'again', **KW)
    real = Teaching.before_batch

    def breaks(self):
        if self.step == 3: raise OSError('here')
        real(self)
    with monkeypatch.context() as mp:
        mp.setattr(Teaching, 'before_batch', breaks)
        with pytest.raises(OSError): train(row, SMALL, data, tmp_path/'cut', **KW)
    train(row, SMALL, data, tmp_path/'cut', resume=True, **KW)
    weights = [load_file(tmp_path/n/'weights.safetensors') for n in ('whole', 'again', 'cut')]
    for other in weights[1:]: assert all(torch.equal(v, other[k]) for k, v in weights[0].items())
    assert whole['last']['ap'] == again['last']['ap']
    assert 'Kornia(ColorJiggle(brightness=0.3' in json.dumps(json.loads((tmp_path/'whole/recipe.json').read_text()))


def test_a_line_differs_where_the_step_does(row):
    was = line_of(row)
    assert line_of(row) == was
    view = Kornia(K.ColorJiggle(.3, .3, .3, .2)) >> Kornia(K.RandomShear(20., p=.5)) >> A60
    METHODS[row] = replace(METHODS[row], student_views=(view,))
    assert line_of(row) != was


def test_several_frames_are_painted_alike():
    image = torch.rand(3, 3, 64, 48)
    draw = (A30 >> Kornia(K.RandomGaussianNoise(std=.2, p=.7))).sample(plain(3, (32, 24)), (32, 24))
    one = render(image, draw, (32, 24))
    assert torch.equal(render(image.repeat(2, 1, 1, 1), several(draw, 2), (32, 24)), one.repeat(2, 1, 1, 1))
