"""What a training run shows on the screen: one row per step that is due, and the rest in metrics.jsonl."""

import numpy as np

from lfm_jax.evaluation.metrics import detection_metrics
from lfm_jax.training.writers import MetricWriter, read


def test_a_validation_is_one_row_of_80_columns_and_metrics_jsonl_has_all_of_it(tmp_path, capsys):
    labels = np.arange(400) % 2
    metrics = detection_metrics(labels, np.random.default_rng(0).normal(labels, 2))
    train = {"loss": 0.123456, "acc": 0.9375, "grad_norm": 12.345678, "lr": 1.234e-5, "images_per_s": 1234.56}
    with MetricWriter(tmp_path, step=0) as writer:
        writer.write(123_456, "train", train)
        writer.write(123_456, "val", metrics)
    rows = capsys.readouterr().err.splitlines()
    assert len(rows) == 2 and max(map(len, rows)) <= 80
    assert [word for word in rows[1].split() if word in metrics] == ["ap", "auc", "acc", "loss"]
    assert read(tmp_path)[1] == {"step": 123_456, "split": "val", **metrics}
