"""The first line of what computes names the devices, and those that a user asked for in vain are named in one line."""

import json

import jax
import pytest

from lfm_jax.runtime import devices
from tests.helpers.training import python


class Device:
    def __init__(self, platform, kind):
        self.platform, self.device_kind = platform, kind


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([Device("cpu", "cpu")], "1 cpu device"),
        ([Device("gpu", "NVIDIA H200")] * 8, "8 gpu devices (NVIDIA H200)"),
        ([Device("tpu", "TPU v5 lite")], "1 tpu device (TPU v5 lite)"),
    ],
)
def test_devices_in_words(found, words):
    assert devices.counted(found) == words


def test_the_first_line_names_the_devices_and_keeps_out_of_the_results(lfm, weights_file, labelled_folder):
    ran = lfm("predict", labelled_folder, f"--weights={weights_file}", "--format=jsonl")
    count = jax.device_count()
    assert ran.devices == f"lfm predict: computing on {count} cpu device{'' if count == 1 else 's'}\n"
    assert all(json.loads(line) for line in ran.out.splitlines())


@pytest.mark.parametrize("kind", ["gpu", "tpu"])
@pytest.mark.parametrize("verb", ["predict", "train"])
def test_a_cpu_is_refused_where_something_else_is_required(lfm, weights_file, tmp_path, verb, kind):
    options = {"predict": [tmp_path, f"--weights={weights_file}"], "train": ["--config=tiny", f"--workdir={tmp_path / 'run'}"]}
    ran = lfm(verb, *options[verb], f"--require={kind}")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"lfm {verb}: --require={kind}: jax sees ") and len(ran.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", ["predict", "train", "convert"])
def test_a_platform_that_is_not_there_gives_one_line(weights_file, tmp_path, verb):
    options = {
        "predict": [tmp_path, f"--weights={weights_file}"],
        "train": ["--config=tiny", f"--workdir={tmp_path / 'run'}"],
        "convert": [weights_file, tmp_path / "checkpoint"],
    }
    ran = python("-m", "lfm_jax", verb, *options[verb], JAX_PLATFORMS="cuda")
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"lfm {verb}: JAX_PLATFORMS=cuda: jax has no such device here")
    assert len(ran.stderr.splitlines()) == 1
