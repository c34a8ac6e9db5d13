"""Which weights a run keeps as its best: those of the highest AP, then of the smallest loss, then the first."""

import pytest

from lfm_jax.training import loop
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.weights import io as weights_io
from tests.helpers.training import small_config


@pytest.mark.parametrize(
    ("validations", "best"),
    [
        ([(0.7, 0.5), (0.9, 0.9), (0.8, 0.1)], 2),  # (AP, loss) after steps 1 to 3
        ([(0.9, 0.5), (0.9, 0.3), (0.9, 0.4)], 2),
        ([(0.9, 0.3), (0.9, 0.3), (0.9, 0.3)], 1),
    ],
)
def test_the_best_weights_have_the_highest_ap_then_the_smallest_loss_then_come_first(
    data_root, tmp_path, monkeypatch, validations, best
):
    metrics, results = loop.detection_metrics, iter(validations)

    def scripted(*args):
        ap, loss = next(results)
        return metrics(*args) | {"ap": ap, "loss": loss}

    monkeypatch.setattr(loop, "detection_metrics", scripted)
    train_and_evaluate(small_config(data_root, **{"steps": 3, "eval.every_steps": 1, "eval.test": False}), tmp_path)
    assert weights_io.load(tmp_path / "checkpoints" / "best").card.training["steps"] == best
