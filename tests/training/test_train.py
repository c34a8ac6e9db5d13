"""Training runs: learning, resuming, choosing, stopping; the same on one device and on eight."""

import functools
import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from PIL import Image

import lfm_jax
from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import ConfigError, DataError, PreemptedError, WeightsError
from lfm_jax.runtime.distributed import StopNotice
from lfm_jax.training import writers
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.training.step import train_step
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.state import TrainState
from tests.helpers.launching import losses, same_weights, values


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """Noise as real, noise enlarged from half its size as fake."""
    root = tmp_path_factory.mktemp("data")
    draws = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 6), ("test", 6)):
        for label in ("0_real", "1_fake"):
            folder = root / split / "noise" / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = draws.integers(0, 256, (56, 56, 3), dtype=np.uint8)
                if label == "1_fake":
                    pixels = pixels[:28, :28].repeat(2, 0).repeat(2, 1)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def small_config(root, **changes):
    config = config_lib.base()
    config.update_from_flattened_dict(
        {
            "steps": 6,
            "batch_size": 8,
            "log_every_steps": 1,
            "model.widths": (4, 8, 8, 8),
            "model.maps": 4,
            "model.pooling.k": 4,
            "data.root": str(root),
            "data.resize": 0,
            "data.crop": 48,
            "optim.lr": 1e-2,
            "checkpoint.every_steps": 2,
            "eval.every_steps": 3,
            "eval.protocol": "native",
        }
        | changes
    )
    return config


@pytest.fixture(scope="module")
def whole_run(data_root, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train_and_evaluate(small_config(data_root), workdir)


def test_a_run_learns_and_leaves_what_it_says(whole_run):
    workdir, results = whole_run
    lines = writers.read(workdir)
    train_lines = [line for line in lines if line["split"] == "train"]
    assert [line["step"] for line in train_lines] == [1, 2, 3, 4, 5, 6]
    assert all({"loss", "lr", "acc", "grad_norm"} <= set(line) for line in train_lines)
    assert [line["step"] for line in lines if line["split"] == "val"] == [3, 6]
    assert results["last"].row("suite")["ap"] > 0.9
    for name in ("config.json", "test/best/results.json", "test/best/predictions.tsv", "test/best/examples.png"):
        assert (workdir / name).stat().st_size > 0
    assert list((workdir / "tensorboard").glob("events*"))
    assert json.loads((workdir / "config.json").read_text())["batch_size"] == 8


def test_the_workdir_is_a_set_of_weights(whole_run, data_root):
    workdir, results = whole_run
    best = max((line for line in writers.read(workdir) if line["split"] == "val"), key=lambda line: (line["ap"], -line["loss"]))
    detector = lfm_jax.load(workdir)
    assert detector.card.training["steps"] == best["step"]
    assert detector.card.training["data"] == str(data_root / "train")
    assert lfm_jax.load(workdir / "checkpoints" / "last").card.training["steps"] == 6
    assert lfm_jax.load(workdir / "checkpoints" / "last" / "4").card.training["steps"] == 4
    prediction = results["best"].predictions[0]
    found = detector(data_root / "test" / prediction["path"], protocol="native")
    assert found.logit == pytest.approx(prediction["logit"], rel=1e-5)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(whole_run, data_root, tmp_path):
    same = train_and_evaluate(small_config(data_root), tmp_path / "same")
    assert values(writers.read(tmp_path / "same")) == values(writers.read(whole_run[0]))
    assert same["best"].predictions == whole_run[1]["best"].predictions
    train_and_evaluate(small_config(data_root, seed=1), tmp_path / "other")
    assert values(writers.read(tmp_path / "other")) != values(writers.read(whole_run[0]))


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("killed_in_step", [4, 5])
def test_a_killed_run_goes_on_to_the_same_end(whole_run, data_root, tmp_path, monkeypatch, killed_in_step):
    config = small_config(data_root)
    write = writers.MetricWriter.write

    def dying(self, step, split, metrics):
        write(self, step, split, metrics)
        if step == killed_in_step:
            raise KilledError

    monkeypatch.setattr(writers.MetricWriter, "write", dying)
    with pytest.raises(KilledError):
        train_and_evaluate(config, tmp_path)
    monkeypatch.undo()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 9, "split": "tr')  # a line cut short
    results = train_and_evaluate(config, tmp_path)
    assert values(writers.read(tmp_path)) == values(writers.read(whole_run[0]))
    assert results["last"].predictions == whole_run[1]["last"].predictions
    assert same_weights(tmp_path, whole_run[0])


def test_a_finished_run_run_again_only_tests(whole_run, data_root):
    workdir, results = whole_run
    before = (workdir / "metrics.jsonl").read_text()
    again = train_and_evaluate(small_config(data_root), workdir)
    assert (workdir / "metrics.jsonl").read_text() == before
    assert again["last"].predictions == results["last"].predictions


def test_a_workdir_of_another_config_is_refused_naming_the_fields(whole_run, data_root):
    with pytest.raises(ConfigError) as caught:
        train_and_evaluate(small_config(data_root, **{"batch_size": 4, "optim.lr": 0.5, "log_every_steps": 3}), whole_run[0])
    assert "config.batch_size: 8 there, 4 now" in str(caught.value)
    assert "config.optim.lr: 0.01 there, 0.5 now" in str(caught.value)
    assert "log_every_steps" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"config\.average_decay: 0\.0 there, 0\.9 now"):
        train_and_evaluate(small_config(data_root, average_decay=0.9), whole_run[0])
    with pytest.raises(ConfigError, match=r"config\.model\.maps: 4 there, 5 now"):
        train_and_evaluate(small_config(data_root, **{"model.maps": 5}), whole_run[0])


def test_a_damaged_newest_checkpoint_is_passed_over_and_named(data_root, tmp_path, caplog):
    train_and_evaluate(small_config(data_root, steps=4), tmp_path)
    (damaged,) = (tmp_path / "checkpoints" / "last" / "4" / "optimizer").glob("_METADATA")
    damaged.write_text("{")
    train_and_evaluate(small_config(data_root), tmp_path)
    assert any("checkpoints/last/4" in record.getMessage() and "passed over" in record.getMessage() for record in caplog.records)
    steps = [line["step"] for line in writers.read(tmp_path) if line["split"] == "train"]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_best_is_chosen_on_validation_alone(data_root, tmp_path, monkeypatch):
    """With validation metrics that fall from step to step, the first stays the best whatever the test split says."""
    from lfm_jax.training import loop

    fallen = iter([0.9, 0.5])
    monkeypatch.setattr(loop, "detection_metrics", lambda *_: {"ap": next(fallen), "loss": 1.0})
    train_and_evaluate(small_config(data_root), tmp_path)
    assert lfm_jax.load(tmp_path).card.training["steps"] == 3


def test_a_loss_that_is_not_finite_stops_the_run_naming_the_step(data_root, tmp_path):
    config = small_config(data_root, **{"optim.lr": 1e30, "log_every_steps": 6})
    with pytest.raises(FloatingPointError, match="step 2"):
        train_and_evaluate(config, tmp_path)
    weights = weights_io.load(tmp_path / "checkpoints" / "last") if list(tmp_path.glob("checkpoints/last/*")) else None
    assert weights is None or all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights.variables))


def test_starting_from_weights_scores_as_they_do(whole_run, data_root, tmp_path):
    config = small_config(data_root, **{"init_from": str(whole_run[0]), "optim.lr": 1e-12, "steps": 1})
    config.model.rank_dropout.p_max = 0.0
    config.freeze_bn_after_steps = 0
    results = train_and_evaluate(config, tmp_path)
    expected = {p["path"]: p["logit"] for p in whole_run[1]["best"].predictions}
    for prediction in results["last"].predictions:
        assert prediction["logit"] == pytest.approx(expected[prediction["path"]], rel=1e-4, abs=1e-4)


def test_weights_that_do_not_fit_the_model_name_the_tensor(whole_run, data_root, tmp_path):
    config = small_config(data_root, **{"init_from": str(whole_run[0]), "model.maps": 5})
    with pytest.raises(WeightsError, match=r"config\.init_from = .*\n.*mis-shaped params/head/kernel: \(16, 1\), the model"):
        train_and_evaluate(config, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "config.steps and config.epochs are both unset"),
        ({"steps": -5}, r"config\.steps = -5"),
        ({"data.source": "zip"}, r"config\.data\.source = 'zip'"),
        ({"data.resize": 32}, r"config\.data\.crop = 48 is larger than config\.data\.resize = 32"),
        ({"optim.name": "sgd"}, r"config\.optim\.name = 'sgd'"),
        ({"optim.schedule": "step"}, r"config\.optim\.schedule = 'step'"),
        ({"optim.weight_decay": 0.1}, r"needs config\.optim\.name = 'adamw'"),
        ({"optim.warmup_steps": 9}, r"config\.optim\.warmup_steps = 9 does not fit a run of 6 steps"),
        ({"eval.protocol": "center"}, "'center'"),
        ({"eval.every_steps": 0}, r"config\.eval\.every_steps = 0"),
        ({"data.crop": 20}, "too small"),
        ({"accumulate": 0}, r"config\.accumulate = 0"),
        ({"accumulate": 3}, r"config\.batch_size = 8 does not divide over 1 devices x config\.accumulate = 3: 6 would"),
        ({"optim.lr_scaling": "cubic"}, r"config\.optim\.lr_scaling = 'cubic'"),
        ({"checkpoint.every_minutes": -1.0}, r"config\.checkpoint\.every_minutes = -1"),
        ({"label_smoothing": 1.0}, r"config\.label_smoothing = 1"),
        ({"average_decay": 1.5}, r"config\.average_decay = 1\.5"),
        ({"consistency": -0.1}, r"config\.consistency = -0\.1"),
    ],
)
def test_a_config_that_cannot_run_says_which_field(data_root, tmp_path, changes, message):
    config = small_config(data_root)
    config.unlock()
    config.update_from_flattened_dict(changes)
    with pytest.raises(ValueError, match=message):
        train_and_evaluate(config, tmp_path / "w")
    assert not (tmp_path / "w" / "metrics.jsonl").exists()


def test_a_data_root_without_splits_says_what_it_found(tmp_path):
    (tmp_path / "horses").mkdir()
    with pytest.raises(DataError, match=r"looked for train/GROUP/0_real/.*found horses"):
        train_and_evaluate(small_config(tmp_path), tmp_path / "w")


def one_step(config, *, frozen=False, labels=4):
    model = models.build(config.model)
    variables = models.init(model, jax.random.key(0))
    tx = optax.sgd(0.1)
    state = TrainState(np.int32(0), variables["params"], variables["batch_stats"], tx.init(variables["params"]))
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (labels, 48, 48, 3), dtype=np.uint8),
        "label": np.arange(labels, dtype=np.float32) % 2,
    }
    step = functools.partial(train_step, model=model, tx=tx, seed=0, aux_weight=config.model.random_k.aux_weight)
    return state, *jax.jit(functools.partial(step, frozen=frozen))(state, batch), step, batch


def test_a_frozen_step_leaves_the_statistics_and_drops_nothing(data_root):
    config = small_config(data_root)
    config.model.random_k.aux_weight = 0.0
    before, after, metrics, _, _ = one_step(config, frozen=True)
    assert jax.tree.all(jax.tree.map(np.array_equal, before.batch_stats, after.batch_stats))
    config.model.rank_dropout.p_max = 0.0
    assert float(one_step(config, frozen=True)[2]["loss"]) == float(metrics["loss"])
    moved = one_step(config)[1]
    assert int(moved.batch_stats["backbone"]["block1"]["norm"]["count"]) == 1


def test_freezing_takes_hold_after_the_step_it_names(data_root, tmp_path):
    train_and_evaluate(small_config(data_root, freeze_bn_after_steps=4), tmp_path)
    stats = weights_io.load(tmp_path / "checkpoints" / "last").variables["batch_stats"]
    assert int(stats["backbone"]["block3"]["norm"]["count"]) == 4


def test_parts_of_a_batch_add_up_to_the_whole_where_nothing_is_drawn_and_batchnorm_is_frozen(data_root):
    """Then the mean of the parts' gradients is the gradient of the batch."""
    config = small_config(data_root)
    config.model.random_k.aux_weight = 0.0
    state, after, metrics, step, batch = one_step(config, frozen=True)
    parts = {name: array.reshape(2, 2, *array.shape[1:]) for name, array in batch.items()}
    in_parts, part_metrics = jax.jit(functools.partial(step, frozen=True))(state, parts)
    assert float(part_metrics["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-6)
    for ours, theirs in zip(jax.tree.leaves(in_parts.params), jax.tree.leaves(after.params), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_batchnorm_sees_each_part_and_each_part_draws_anew(data_root, tmp_path):
    config = small_config(data_root, accumulate=2)
    train_and_evaluate(config, tmp_path)
    stats = weights_io.load(tmp_path / "checkpoints" / "last").variables["batch_stats"]
    assert int(stats["backbone"]["block1"]["norm"]["count"]) == 12
    state, _, _, step, batch = one_step(config, frozen=True)
    twice = {name: np.stack([array, array]) for name, array in batch.items()}
    once = {name: array[None] for name, array in batch.items()}
    assert float(step(state, twice)[1]["loss"]) != float(step(state, once)[1]["loss"])


def test_remat_changes_nothing_but_memory(data_root):
    config = small_config(data_root)
    plain = one_step(config)
    config.model.remat = True
    again = one_step(config)
    assert float(again[2]["loss"]) == pytest.approx(float(plain[2]["loss"]), rel=1e-6)
    for ours, theirs in zip(jax.tree.leaves(again[1]), jax.tree.leaves(plain[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_every_step_draws_anew(data_root):
    config = small_config(data_root)
    state, _, metrics, step, batch = one_step(config)
    later = TrainState(np.int32(1), state.params, state.batch_stats, state.opt_state)
    assert float(step(later, batch)[1]["loss"]) != float(metrics["loss"])
    assert float(step(state, batch)[1]["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-5)


EIGHT_DEVICES = """
import sys, jax
import numpy as np
from pathlib import Path
from lfm_jax.runtime import sharding; from lfm_jax.training import loop
from lfm_jax.ops.pooling import random_k_pool, rank_dropout
from tests.training.test_train import small_config

assert jax.device_count() == 8

@jax.jit
def drawn(maps):
    key = jax.random.key(1)
    return random_k_pool(maps, k=4, key=key), rank_dropout(maps[:, 0], p_min=0.1, p_max=0.3, key=key)

maps = np.random.default_rng(0).normal(size=(16, 6, 6, 4)).astype(np.float32)
on_eight = jax.device_put(maps, mesh.split_batch(mesh.data_mesh()))
assert jax.tree.all(jax.tree.map(np.array_equal, drawn(on_eight), drawn(maps)))

root, out = sys.argv[1], Path(sys.argv[2])
train.train_and_evaluate(small_config(root, steps=4), out / "replicated")
train.train_and_evaluate(small_config(root), out / "replicated")
fit = train.fit

def with_a_look_at_the_state(run, state, *others):
    split = [leaf for leaf in jax.tree.leaves(state.params) if not leaf.is_fully_replicated]
    assert {leaf.addressable_shards[0].data.size * 8 == leaf.size for leaf in split} == {True}
    return fit(run, state, *others)

train.fit = with_a_look_at_the_state
train.train_and_evaluate(small_config(root, steps=4, shard_state=True), out / "sharded")
train.fit = fit
train.train_and_evaluate(small_config(root), out / "sharded")
"""


def test_one_device_and_eight_give_the_same_run_with_the_state_replicated_or_split(whole_run, data_root, tmp_path):
    """Float32 sums in another order are all that differs; another mask, crop or image would show in the losses.

    The second run changes from a split state to a replicated one where it resumes. The draws are the same to the bit.
    """
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", EIGHT_DEVICES, str(data_root), str(tmp_path)], env=env, check=True, timeout=600)
    one = losses(whole_run[0])
    for name in ("replicated", "sharded"):
        eight = losses(tmp_path / name)
        assert len(eight) == len(one) == 6
        assert eight[0] == pytest.approx(one[0], rel=1e-6)
        np.testing.assert_allclose(eight, one, rtol=1e-4)


def test_a_run_told_to_stop_saves_that_step_and_goes_on_to_the_same_end(whole_run, data_root, tmp_path, monkeypatch):
    after = StopNotice.after

    def with_a_signal(self, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return after(self, step)

    monkeypatch.setattr(StopNotice, "after", with_a_signal)
    with pytest.raises(PreemptedError, match="a checkpoint of step 3 is saved"):
        train_and_evaluate(small_config(data_root), tmp_path)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert (tmp_path / "checkpoints" / "last" / "3" / "weights").is_dir()
    monkeypatch.undo()
    train_and_evaluate(small_config(data_root), tmp_path)
    assert values(writers.read(tmp_path)) == values(writers.read(whole_run[0]))
    assert same_weights(tmp_path, whole_run[0])


def test_checkpoints_also_come_by_the_clock(data_root, tmp_path):
    rare = {"checkpoint.every_steps": 1000, "eval.every_steps": 1000, "eval.test": False}
    train_and_evaluate(small_config(data_root, **rare, **{"checkpoint.every_minutes": 1e-9}), tmp_path)
    assert {entry.name for entry in (tmp_path / "checkpoints" / "last").iterdir()} == {"5", "6"}  # keep = 2


def test_a_trace_of_the_steps_asked_for_is_kept(data_root, tmp_path):
    train_and_evaluate(small_config(data_root, **{"profile_steps": (2, 3), "steps": 4, "eval.test": False}), tmp_path)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_disk_that_is_full_is_said_in_one_line_and_costs_no_earlier_checkpoint(whole_run, data_root, tmp_path):
    """After step 5 no file may grow over a few bytes, as `ulimit -f` has it: the nearest to a full disk that needs no root."""
    script = """
import resource, sys
from lfm_jax import cli; from lfm_jax.training import loop
from lfm_jax.verbs import train as verb
from tests.training.test_train import small_config

verb.load_config = lambda *_: small_config(sys.argv[1])
save, limit = train.Checkpoints.save_last, resource.RLIMIT_FSIZE

def save_last(self, step, *others):
    if step > 4:
        self.wait()
        resource.setrlimit(limit, (20, resource.getrlimit(limit)[1]))
    save(self, step, *others)
    self.wait()

train.Checkpoints.save_last = save_last
sys.exit(cli.main(["train", "--config=c.py", "--workdir", sys.argv[2]]))
"""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", script, str(data_root), str(tmp_path)]
    ran = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 1, ran.stderr[-2000:]
    assert "File too large" in ran.stderr.splitlines()[-1]
    assert "Whole ones there, from before: 2, 4. Make room" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
    train_and_evaluate(small_config(data_root), tmp_path)
    assert same_weights(tmp_path, whole_run[0])


def test_a_trained_checkpoint_gives_its_logits_in_pytorch_under_strict_loading(whole_run, data_root, tmp_path):
    torch = pytest.importorskip("torch", reason="loads the export in PyTorch")
    from benchmarks.torch_lfm import TorchLfm, normalize

    workdir, results = whole_run
    weights_io.convert(workdir, tmp_path / "trained.pth")
    network = TorchLfm((4, 8, 8, 8), maps=4, k=4)
    network.load_state_dict(torch.load(tmp_path / "trained.pth", weights_only=True), strict=True)
    network.eval()
    for prediction in results["best"].predictions:
        image = np.asarray(Image.open(data_root / "test" / prediction["path"]).convert("RGB"))
        with torch.no_grad():
            logit = network(normalize(torch.from_numpy(image.copy())[None])).item()
        assert logit == pytest.approx(prediction["logit"], abs=1e-4)


def test_a_batch_that_does_not_divide_over_the_devices_says_the_numbers():
    from lfm_jax.runtime import sharding

    class EightDevices:
        size = 8

    with pytest.raises(ConfigError, match=r"config\.batch_size = 12 does not divide over 8 devices: 8 would"):
        sharding.check_batch_size(12, EightDevices())
    with pytest.raises(ConfigError, match=r"batch_size = 24 does not divide over 8 devices x config\.accumulate = 2: 16 would"):
        sharding.check_batch_size(24, EightDevices(), accumulate=2)
