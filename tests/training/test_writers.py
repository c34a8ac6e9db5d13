"""TensorBoard files: they hold what was logged, and writing them does not load PyTorch, which takes seconds."""

import subprocess
import sys

import pytest

from lfm_jax.training.writers import MetricWriter

EVENTS = """
import sys
from pathlib import Path
from lfm_jax.training.writers import MetricWriter
with MetricWriter(Path(sys.argv[1]), step=4) as writer:
    writer.write(5, "train", {"loss": 0.5, "acc": None})
assert "torch" not in sys.modules
"""


def scalars(folder):
    """The scalars in the only event file of a folder, and the steps from which on earlier ones are dropped."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    (file,) = folder.iterdir()
    content, values, restarts = file.read_bytes(), [], []
    while content:  # a record is its length, a checksum of that, the record and its checksum
        length = int.from_bytes(content[:8], "little")
        event = proto.Event.FromString(content[12 : 12 + length])
        values += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        restarts += [event.step] if event.HasField("session_log") else []
        content = content[16 + length :]
    return values, restarts


def test_the_file_has_what_was_logged_and_drops_what_a_killed_run_logged_after_its_checkpoint(tmp_path):
    with MetricWriter(tmp_path, step=4) as writer:
        writer.write(5, "train", {"loss": 0.5, "acc": None})
        writer.write(5, "val", {"ap": 0.75})
    assert scalars(tmp_path / "tensorboard") == ([(5, "train/loss", 0.5), (5, "val/ap", 0.75)], [5])


def test_writing_metrics_loads_no_pytorch_and_leaves_it_to_be_loaded_by_others(tmp_path):
    pytest.importorskip("torch")
    code = EVENTS + "import torch; assert torch.zeros(1) is not None"
    ran = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
