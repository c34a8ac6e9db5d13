"""Batches made by worker processes: the bits of threads, broken files named, and no process left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lfm_jax import config, presets
from lfm_jax.data import augmentations
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.errors import ConfigError, DataError
from tests.helpers.launching import environment

RUN = """
import sys
from lfm_jax import config
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.sources.folder import open_folder

if __name__ == "__main__":
    data = config.data()
    data.update({"resize": 0, "crop": 16, "workers": 2, "max_broken_share": 0.2})
    for batch in TrainPipeline(open_folder(sys.argv[1]), data, seed=3).batches(0, 1 << 20, 4):
        print("read", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven images, of which one is broken."""
    root = tmp_path_factory.mktemp("data")
    for index in range(11):
        leaf = root / "gan" / ("1_fake" if index % 2 else "0_real")
        leaf.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (24, 20 + index, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(leaf / f"{index:02d}.png")
    (root / "gan" / "0_real" / "04.png").write_bytes(b"\x89PNG cut")
    return root


def pipeline(folder, **fields):
    data = config.data()
    data.update({"resize": 0, "crop": 16, "threads": 2, "prefetch": 3, "max_broken_share": 0.2, **fields})
    data.augment = augmentations.as_files_are()
    return TrainPipeline(open_folder(folder), data, seed=3, views=fields.get("views", 1))


def test_workers_give_the_bits_of_threads_from_any_step_and_name_broken_files(folder):
    alone, shared = pipeline(folder), pipeline(folder, workers=2)
    slices = {"parts": 2, "process": 1, "processes": 2}
    one, other = (list(reader.batches(3, 12, 8, **slices)) for reader in (alone, shared))
    assert len(one) == len(other) == 9
    for batch, same in zip(one, other, strict=True):
        assert batch.keys() == same.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], same[name])
            assert batch[name].dtype == same[name].dtype
    assert list(shared.broken) == list(alone.broken) == ["gan/0_real/04.png"]


def test_a_fault_in_a_worker_ends_the_run_with_its_own_words(folder):
    with pytest.raises(DataError, match=r"gan/0_real/04\.png: "):
        list(pipeline(folder, workers=2, max_broken_share=0.0).batches(0, 9, 4))


def test_kept_images_and_workers_do_not_go_together():
    changed = presets.load_config("tiny")
    changed.data.update({"workers": 2, "cache_mib": 10})
    with pytest.raises(ConfigError, match=r"config\.data\.cache_mib = 0"):
        config.validate(changed)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed_and_leave_signals_to_it(folder, tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    process = subprocess.Popen([sys.executable, tmp_path / "run.py", folder], env=environment(), stdout=subprocess.PIPE, text=True)
    for _ in range(4):
        assert process.stdout.readline() == "read\n"
    children = [int(child) for path in Path(f"/proc/{process.pid}/task").glob("*/children") for child in path.read_text().split()]
    workers = [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(workers) == 2
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    for _ in range(20):
        assert process.stdout.readline() == "read\n"
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.2)
