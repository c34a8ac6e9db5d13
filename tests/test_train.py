"""Training runs: learning, resuming, choosing, stopping; the same on one device and on eight."""

import functools
import json
import os
import subprocess
import sys

import jax
import numpy as np
import optax
import pytest
from PIL import Image

import lfm_jax
from lfm_jax import config as config_lib
from lfm_jax import convert, models, writers
from lfm_jax.errors import ConfigError, DataError, WeightsError
from lfm_jax.state import TrainState
from lfm_jax.train import train_and_evaluate, train_step


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


def values(lines):
    """Metrics without the speed, which is the machine's."""
    return [{name: value for name, value in line.items() if name != "images_per_s"} for line in lines]


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
    ours, theirs = (convert.load(path / "checkpoints" / "last").variables for path in (tmp_path, whole_run[0]))
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


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
    from lfm_jax import train

    fallen = iter([0.9, 0.5])
    monkeypatch.setattr(train, "detection_metrics", lambda *_: {"ap": next(fallen), "loss": 1.0})
    train_and_evaluate(small_config(data_root), tmp_path)
    assert lfm_jax.load(tmp_path).card.training["steps"] == 3


def test_a_loss_that_is_not_finite_stops_the_run_naming_the_step(data_root, tmp_path):
    config = small_config(data_root, **{"optim.lr": 1e30, "log_every_steps": 6})
    with pytest.raises(FloatingPointError, match="step 2"):
        train_and_evaluate(config, tmp_path)
    weights = convert.load(tmp_path / "checkpoints" / "last") if list(tmp_path.glob("checkpoints/last/*")) else None
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
    stats = convert.load(tmp_path / "checkpoints" / "last").variables["batch_stats"]
    assert int(stats["backbone"]["block3"]["norm"]["count"]) == 4


def test_every_step_draws_anew(data_root):
    config = small_config(data_root)
    state, _, metrics, step, batch = one_step(config)
    later = TrainState(np.int32(1), state.params, state.batch_stats, state.opt_state)
    assert float(step(later, batch)[1]["loss"]) != float(metrics["loss"])
    assert float(step(state, batch)[1]["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-5)


def test_one_device_and_eight_give_the_same_run(whole_run, data_root, tmp_path):
    """Float32 sums in another order are all that differs; another mask, crop or image would show in the losses."""
    script = (
        "import sys, jax; from tests.test_train import small_config; from lfm_jax.train import train_and_evaluate;"
        "assert jax.device_count() == 8; train_and_evaluate(small_config(sys.argv[1]), sys.argv[2])"
    )
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", script, str(data_root), str(tmp_path)], env=env, check=True, timeout=600)
    eight, one = ([line for line in writers.read(path) if line["split"] == "train"] for path in (tmp_path, whole_run[0]))
    assert len(eight) == len(one) == 6
    assert eight[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-6)
    np.testing.assert_allclose([line["loss"] for line in eight], [line["loss"] for line in one], rtol=1e-4)


def test_a_batch_that_does_not_divide_over_the_devices_says_the_numbers():
    from lfm_jax import mesh

    class EightDevices:
        size = 8

    with pytest.raises(ConfigError, match=r"config\.batch_size = 12 does not divide over 8 devices: 8 would"):
        mesh.check_batch_size(12, EightDevices())
