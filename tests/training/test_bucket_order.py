"""A run in a bucket: what a checkpoint's steps have logged is there before the checkpoint is."""

import json

import fsspec.config

from lfm_jax import config as config_lib
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.weights.checkpoint import Checkpoints
from tests.helpers.gcs import FakeStorage


def test_the_lines_of_a_checkpoints_steps_are_in_the_bucket_when_it_is_saved(monkeypatch):
    """A run killed in between resumes with all its lines; the other way round some would be missing for good."""
    bucket, save_last = FakeStorage(), Checkpoints.save_last
    logged = {}

    def spy(self, step, *args):
        lines = bucket.objects.get("run/metrics.jsonl", b"").decode().splitlines()
        logged[step] = max((json.loads(line)["step"] for line in lines), default=0)
        save_last(self, step, *args)

    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    monkeypatch.setattr(Checkpoints, "save_last", spy)
    config = config_lib.base()
    config.update_from_flattened_dict(
        {
            **{"steps": 3, "batch_size": 4, "model.widths": (4, 8, 8, 8), "model.maps": 4, "model.pooling.k": 4},
            **{"data.source": "synthetic", "data.resize": 0, "data.crop": 48, "data.synthetic.side": 64, "data.synthetic.train": 8},
            **{"data.synthetic.val": 4, "eval.protocol": "native", "eval.test": False, "eval.every_steps": 3},
            **{"log_every_steps": 1, "checkpoint.every_steps": 1},
        }
    )
    train_and_evaluate(config, "gs://bucket/run")
    bucket.close()
    assert logged == {1: 1, 2: 2, 3: 3}
