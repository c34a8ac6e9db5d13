"""A workdir whose files were damaged: nothing is deleted, nothing wrong is loaded, and what is set aside is named."""

import random
import shutil
import signal
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from lfm_jax.errors import CheckpointError, ConfigError, PreemptedError, WeightsError
from lfm_jax.training import writers
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.weights import io as weights_io
from tests.helpers.launching import same_weights, values
from tests.helpers.networks import equal_to_the_bit
from tests.helpers.training import signal_in_step, small_config


@pytest.fixture
def workdir(whole_run, tmp_path):
    """A copy of the whole run, to damage: last checkpoints of steps 4 and 6."""
    return Path(shutil.copytree(whole_run[0], tmp_path / "run"))


def last(workdir, step):
    return workdir / "checkpoints" / "last" / str(step)


def snapshot(folder):
    """{path: bytes} of all files in a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def array_files(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name == "d"]


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def without_test(data_root, **changes):
    return small_config(data_root, **{"eval.test": False} | changes)


def test_a_step_below_a_damaged_newer_checkpoint_is_saved_and_resumed_from(workdir, data_root, monkeypatch):
    (last(workdir, 6) / "optimizer" / "_METADATA").write_text("{")
    signal_in_step(monkeypatch, 5, signal.SIGTERM)
    with pytest.raises(PreemptedError, match="a checkpoint of step 5 is saved"):
        train_and_evaluate(without_test(data_root), workdir)
    assert (last(workdir, 5) / "weights").is_dir()
    assert (workdir / "checkpoints" / "set_aside-last-6" / "weights").is_dir()


def test_a_save_that_orbax_declines_is_an_error(data_root, tmp_path, monkeypatch):
    monkeypatch.setattr(ocp.CheckpointManager, "save", lambda *_, **__: False)
    with pytest.raises(CheckpointError, match="orbax saves no step 2"):
        train_and_evaluate(without_test(data_root), tmp_path)


def test_where_no_checkpoint_can_be_restored_the_run_stops_and_nothing_changes(workdir, data_root):
    for step in (4, 6):
        (last(workdir, step) / "optimizer" / "manifest.ocdbt").unlink()
    before = snapshot(workdir)
    with pytest.raises(WeightsError, match=r"none of the checkpoints in .*last can be restored, and nothing was changed"):
        train_and_evaluate(without_test(data_root), workdir)
    assert snapshot(workdir) == before


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_damaged(workdir, data_root, monkeypatch):
    before = snapshot(workdir)

    def restore(*_, **__):
        raise PermissionError(13, "Permission denied", "manifest.ocdbt")

    monkeypatch.setattr(ocp.CheckpointManager, "restore", restore)
    with pytest.raises(WeightsError, match=r"6 cannot be read, which does not mean that it is damaged: .*Permission denied"):
        train_and_evaluate(without_test(data_root), workdir)
    assert snapshot(workdir) == before


@pytest.mark.parametrize("part", ["weights", "optimizer"])
def test_a_bit_flipped_on_the_disk_is_noticed(whole_run, workdir, data_root, part):
    """The checkpoint is passed over. One bit of each file of arrays: orbax reads some of those that it leaves, and not others.

    Small files hold an index with a checksum of its own, which would be noticed without the hashes that are held here.
    """
    sizes = {path: path.stat().st_size for path in array_files(last(workdir, 6) / part)}
    for path, size in sizes.items():
        if size > max(sizes.values()) / 4:
            flip(path, size // 2)
    train_and_evaluate(without_test(data_root), workdir)
    assert (workdir / "checkpoints" / "set_aside-last-6").is_dir()
    assert same_weights(workdir, whole_run[0])
    assert values(writers.read(workdir)) == values(writers.read(whole_run[0]))


def test_no_flipped_bit_changes_the_weights_that_are_loaded(whole_run, tmp_path):
    """Which bits matter differs from save to save: of the files that orbax names at random, some hold what is not read."""
    source = last(whole_run[0], 6)
    expected = weights_io.load(source)
    rng = random.Random(0)
    for trial in range(12):
        folder = shutil.copytree(source, tmp_path / str(trial) / "6")
        path = rng.choice([*array_files(folder / "weights"), folder / "card" / "metadata", folder / "hashes" / "metadata"])
        flip(path, rng.randrange(path.stat().st_size), rng.randrange(8))
        try:
            loaded = weights_io.load(folder)
        except WeightsError as error:
            assert "\n" not in str(error)
        else:
            assert equal_to_the_bit(loaded.variables, expected.variables)
            assert loaded.card == expected.card


@pytest.mark.parametrize("file", ["card", "hashes"])
def test_a_flipped_bit_of_what_explains_a_checkpoint_is_refused(whole_run, tmp_path, file):
    folder = shutil.copytree(last(whole_run[0], 6), tmp_path / "6")
    path = folder / file / "metadata"
    place = {"card": b'"threshold": 0.', "hashes": b'"weights": "'}[file]
    flip(path, path.read_bytes().index(place) + len(place))
    with pytest.raises(WeightsError, match="changed since it was written"):
        weights_io.load(folder)


def test_weights_that_are_not_finite_are_not_saved(data_root, tmp_path, monkeypatch):
    """The loss of the step that makes them is finite still."""
    monkeypatch.setattr("lfm_jax.training.run.optim.build", lambda *_, **__: _infinite())
    with pytest.raises(FloatingPointError, match=r"step 1: .* not finite, so it was not saved"):
        train_and_evaluate(without_test(data_root, **{"checkpoint.every_steps": 1}), tmp_path)
    assert not list((tmp_path / "checkpoints" / "last").iterdir())


def _infinite():
    import optax

    return optax.sgd(np.inf), lambda _: np.inf


def test_weights_that_are_not_finite_are_refused_from_a_checkpoint_of_before(whole_run, tmp_path, monkeypatch):
    weights = weights_io.load(whole_run[0])
    weights.variables["params"]["head"]["bias"][:] = np.nan
    monkeypatch.setattr("lfm_jax.weights.checkpoint_files.implausible", lambda _: [])
    weights_io.save(tmp_path / "nan", weights)
    monkeypatch.undo()
    with pytest.raises(WeightsError, match="params/head/bias has values that are not finite"):
        weights_io.load(tmp_path / "nan")


def test_damaged_metrics_of_the_best_checkpoint_are_named_and_the_run_goes_on(workdir, data_root, capsys):
    (best,) = (workdir / "checkpoints" / "best").iterdir()
    (best / "metrics" / "metrics").write_text("")
    results = train_and_evaluate(small_config(data_root), workdir)
    assert f"best-{best.name}" in capsys.readouterr().err
    assert results["best"].predictions
    assert weights_io.load(workdir).card.training["steps"] == 6


@pytest.mark.parametrize("damage", [b"{garbage\n", b"\0" * 300, b"\0" * 300 + b"\n", b"[1]\n", b"\xff\xfe\n", b'{"step": "x"}\n'])
def test_damaged_lines_of_metrics_are_left_out(workdir, data_root, damage):
    before = writers.read(workdir)
    with open(workdir / "metrics.jsonl", "ab") as file:
        file.write(damage)
    assert writers.read(workdir) == before


def test_a_run_begun_again_does_not_keep_the_best_weights_of_the_old_one(workdir, data_root):
    shutil.rmtree(workdir / "checkpoints" / "last")
    train_and_evaluate(without_test(data_root, steps=3), workdir)
    assert list((workdir / "checkpoints").glob("set_aside-best-*"))
    assert weights_io.load(workdir).card.training["steps"] == 3


def test_a_run_beyond_the_steps_asked_for_is_refused(workdir, data_root):
    with pytest.raises(ConfigError, match=r"is at step 6 already, beyond config\.steps = 5"):
        train_and_evaluate(without_test(data_root, steps=5), workdir)


def test_images_added_since_the_checkpoint_are_said(whole_run, data_root, tmp_path, workdir, capsys):
    grown = Path(shutil.copytree(data_root, tmp_path / "grown"))
    train_and_evaluate(without_test(grown, steps=6), workdir)
    assert "warning" not in capsys.readouterr().err
    one = grown / "train" / "noise" / "0_real" / "0.png"
    for number in range(4):
        shutil.copy(one, one.with_name(f"more{number}.png"))
    train_and_evaluate(without_test(grown, steps=7), workdir)
    assert "the training images are not those of the checkpoint, 44 now and 40 then" in capsys.readouterr().err
