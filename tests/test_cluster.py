"A table for a cluster: `sweep --print`, and the SLURM scripts, run with stand-ins for what a cluster has"
import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
import pytest
from typer.testing import CliRunner
from semipose.cli import app
from semipose.errors import UserError
from semipose.ledger import read_ledger
from semipose.protocols import protocol
from semipose.sweep import missing, sweep

TOP = Path(__file__).parents[1]
SCRIPTS = [TOP/'scripts'/f'slurm_{name}.sh' for name in ('sweep', 'train')]


def printed(*words):
    done = CliRunner().invoke(app, ['sweep', *map(str, words), '--print'], catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit): raise done.exception
    return done.stdout.splitlines(), done.stderr


def test_each_missing_run_is_one_command_with_the_options_that_were_typed(tmp_path):
    lines, said = printed('demo', 'naive', 'supervised', '--seeds', '38-40', '--results', TOP/'results/unseen',
                          '--runs', tmp_path/'of mine', '--device', 'cpu')
    rest = f"--device cpu --runs '{tmp_path}/of mine' --results {TOP/'results/unseen'}"
    assert lines == [f'semipose sweep demo {m} --seeds 40-40 {rest}' for m in ('naive', 'supervised')]
    assert '2 of 6 runs are missing' in said
    assert not (tmp_path/'of mine').exists(), 'nothing is trained'


def test_a_printed_command_is_the_run(tmp_path):
    "printed, taken by itself, and then no longer missing"
    few = replace(protocol('demo'), name='few', title='few', data=None, labels=8, size=(32, 32), width=8, batch=(4, 4),
                  start_steps=0, start_every=None, steps=4, every=2)
    args = (TOP/'data/sample',), dict(results=tmp_path/'results')
    assert missing(few, ['naive', 'supervised'], [0, 3], *args[0], **args[1]) == [
        ('naive', 0), ('supervised', 0), ('naive', 3), ('supervised', 3)]
    sweep(few, ['naive'], [3], TOP/'data/sample', tmp_path/'runs', tmp_path/'results', 'cpu', progress=False)
    assert missing(few, ['naive', 'supervised'], [0, 3], *args[0], **args[1]) == [
        ('naive', 0), ('supervised', 0), ('supervised', 3)]
    assert len(read_ledger(tmp_path/'results', 'few')[0]) == 1


def test_a_detector_would_look_again_in_every_command():
    lines, said = printed('lsp-100-small', 'supervised', '--data', TOP/'data/sample', '--detector', 'fasterrcnn')
    assert not lines and 'Find them once with `semipose boxes`' in ' '.join(said.split())


def test_a_sweep_reads_a_pack(tmp_path):
    "the same numbers as from photographs, for a raw pack holds the very pixels"
    from semipose.people import pack_data, prepare
    few = replace(protocol('demo'), name='few', title='few', data=None, labels=8, size=(32, 32), width=8, batch=(4, 4),
                  start_steps=0, start_every=None, steps=2, every=2)
    pack = pack_data(prepare(few, TOP/'data/sample', 0, progress=False, cut=False), tmp_path/'few.pack', 'raw')
    found = [sweep(few, ['naive'], [0], TOP/'data/sample', tmp_path/f'runs{n}', tmp_path/f'results{n}', 'cpu',
                   progress=False, **more)['new'][0] for n, more in enumerate((dict(), dict(packed=pack)))]
    read = [json.loads((tmp_path/f'runs{n}/few/seed0/naive/recipe.json').read_text()).get('packed') for n in (0, 1)]
    assert read[0] is None and Path(read[1]).name == pack.name, 'the pack is what was read'
    assert found[0].ap == found[1].ap and found[0].last['pck'] == found[1].last['pck']
    with pytest.raises(UserError, match='--packed .*there is no such file'):
        sweep(few, ['naive'], [0], TOP/'data/sample', results=tmp_path/'r', packed=tmp_path/'none.pack')


# ---- SLURM ----

@pytest.mark.parametrize('script', SCRIPTS, ids=lambda s: s.name)
def test_scripts_are_sound(script):
    assert script.stat().st_mode & stat.S_IXUSR, f'{script.name} cannot be run: chmod +x'
    subprocess.run(['bash', '-n', script], check=True)
    if shutil.which('shellcheck'): subprocess.run(['shellcheck', script], check=True)


@pytest.fixture
def cluster(tmp_path):
    "A folder with stand-ins, each of which says how it was called; and the environment of a job"
    stand_in = tmp_path/'bin'
    stand_in.mkdir()
    for name, body in dict(scontrol='echo gpu7; sleep .3; echo gpu8', srun='echo srun "$1"; exec "$@"',
                           torchrun='printf "%s\\n" "$@"').items():
        (stand_in/name).write_text(f'#!/usr/bin/env bash\n{body}\n')
        (stand_in/name).chmod(0o755)
    return dict(os.environ, PATH=f'{stand_in}{os.pathsep}{os.environ["PATH"]}', SLURM_JOB_ID='42', SLURM_NNODES='2',
                SLURM_GPUS_ON_NODE='8', SLURM_JOB_NODELIST='gpu[7-8]')


def call(script, *words, env):
    return subprocess.run(['bash', script, *map(str, words)], env=env, capture_output=True, text=True)


def test_a_training_goes_to_all_machines_with_its_words_unbroken(cluster):
    done = call(SCRIPTS[1], 'posedual_jc', '--data', 'my data', '--out', 'runs/x', env=cluster)
    said = done.stdout.splitlines()
    value = lambda option: said[said.index(option) + 1]
    assert done.returncode == 0 and said[0] == 'srun torchrun'
    assert (value('--nnodes'), value('--nproc_per_node'), value('--rdzv_id')) == ('2', '8', '42')
    assert value('--rdzv_endpoint') == 'gpu7:29500'
    assert said[said.index('-m'):] == ['-m', 'semipose', 'train', 'posedual_jc', '--data', 'my data', '--out', 'runs/x']
    assert 'What to train?' in call(SCRIPTS[1], env=cluster).stderr


def test_a_task_of_an_array_takes_its_line(cluster, tmp_path):
    rows = tmp_path/'rows.txt'
    rows.write_text("echo one\necho 'of two'  words\n")
    done = call(SCRIPTS[0], rows, env=dict(cluster, SLURM_ARRAY_TASK_ID='2'))
    assert (done.returncode, done.stdout.splitlines()) == (0, ["echo 'of two'  words", 'of two words'])
    late = call(SCRIPTS[0], rows, env=dict(cluster, SLURM_ARRAY_TASK_ID='3'))
    assert late.returncode == 2 and 'has no line 3: give --array=1-2' in late.stderr
    assert 'which file?' in call(SCRIPTS[0], env=cluster).stderr
    assert 'not a task of an array' in call(SCRIPTS[0], rows, env=cluster).stderr
