"""A training run: it learns, chooses its best weights, can be repeated, and leaves behind what it says."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

import lfm_jax
from lfm_jax.training import loop, writers
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.weights import io as weights_io
from tests.helpers.launching import losses, values
from tests.helpers.training import python, small_config


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
    expected = results["best"].predictions[0]
    prediction = detector(data_root / "test" / expected["path"], protocol="native")
    assert prediction.logit == pytest.approx(expected["logit"], rel=1e-5)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(whole_run, data_root, tmp_path):
    same = train_and_evaluate(small_config(data_root), tmp_path / "same")
    assert values(writers.read(tmp_path / "same")) == values(writers.read(whole_run[0]))
    assert same["best"].predictions == whole_run[1]["best"].predictions
    train_and_evaluate(small_config(data_root, seed=1), tmp_path / "other")
    assert values(writers.read(tmp_path / "other")) != values(writers.read(whole_run[0]))


def test_one_device_and_eight_give_the_same_run_with_the_state_replicated_or_split(whole_run, data_root, tmp_path):
    """Only the order of float32 sums differs. Another mask, crop or image would show in the losses; draws agree to the bit."""
    ran = python("-m", "tests.helpers.eight_devices", data_root, tmp_path, JAX_NUM_CPU_DEVICES="8")
    assert ran.returncode == 0, ran.stderr[-3000:]
    one = losses(whole_run[0])
    for name in ("replicated", "sharded"):
        eight = losses(tmp_path / name)
        assert len(eight) == len(one) == 6
        assert eight[0] == pytest.approx(one[0], rel=1e-6)
        np.testing.assert_allclose(eight, one, rtol=1e-4)


def test_best_is_chosen_on_validation_alone(data_root, tmp_path, monkeypatch):
    """With a validation AP that falls, the first weights stay the best, whatever the test split says."""
    falling = iter([0.9, 0.5])
    monkeypatch.setattr(loop, "detection_metrics", lambda *_: {"ap": next(falling), "loss": 1.0})
    train_and_evaluate(small_config(data_root), tmp_path)
    assert lfm_jax.load(tmp_path).card.training["steps"] == 3


def test_a_loss_that_is_not_finite_stops_the_run_naming_the_step(data_root, tmp_path):
    config = small_config(data_root, **{"optim.lr": 1e30, "log_every_steps": 6})
    with pytest.raises(FloatingPointError, match="step 2"):
        train_and_evaluate(config, tmp_path)
    weights = weights_io.load(tmp_path / "checkpoints" / "last") if list(tmp_path.glob("checkpoints/last/*")) else None
    assert weights is None or all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(weights.variables))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_starting_from_weights_scores_as_they_do_at_the_temperature_asked_for(whole_run, data_root, tmp_path, temperature):
    start = {"init_from": str(whole_run[0]), "init_temperature": temperature}
    config = small_config(data_root, **start, **{"optim.lr": 1e-12, "steps": 1})
    config.model.rank_dropout.p_max = 0.0
    config.freeze_bn_after_steps = 0
    results = train_and_evaluate(config, tmp_path)
    expected = {p["path"]: p["logit"] for p in whole_run[1]["best"].predictions}
    for prediction in results["last"].predictions:
        assert prediction["logit"] == pytest.approx(expected[prediction["path"]] / temperature, rel=1e-4, abs=1e-4)


def test_freezing_takes_effect_after_the_step_it_names(data_root, tmp_path):
    train_and_evaluate(small_config(data_root, freeze_bn_after_steps=4), tmp_path)
    stats = weights_io.load(tmp_path / "checkpoints" / "last").variables["batch_stats"]
    assert int(stats["backbone"]["block3"]["norm"]["count"]) == 4


def test_batchnorm_sees_each_part_of_a_batch(data_root, tmp_path):
    train_and_evaluate(small_config(data_root, accumulate=2), tmp_path)
    stats = weights_io.load(tmp_path / "checkpoints" / "last").variables["batch_stats"]
    assert int(stats["backbone"]["block1"]["norm"]["count"]) == 12


def test_a_trace_of_the_steps_asked_for_is_kept(data_root, tmp_path):
    train_and_evaluate(small_config(data_root, **{"profile_steps": (2, 3), "steps": 4, "eval.test": False}), tmp_path)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_a_trained_checkpoint_gives_its_logits_in_pytorch_under_strict_loading(whole_run, data_root, tmp_path):
    torch = pytest.importorskip("torch", reason="loads the export in PyTorch")
    from lfm_jax.export.lfm_torch import TorchLfm, normalize

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
