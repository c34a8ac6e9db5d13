"""An evaluation on any number of devices and processes: the same predictions and metrics, to the last bit."""

import json
import subprocess
import sys

import pytest

from tests.helpers.evaluation import BATCH_SIZE, PROTOCOLS, VIEWS, evaluated
from tests.helpers.launching import LAUNCH, environment

# (height, width): small images, some odd, that are scored together; one too large for that, and one too small.
SIZES = [(64, 64), (41, 64), (64, 50), (200, 210), (33, 64), (63, 61), (20, 64)]


@pytest.fixture(scope="module")
def mixed_folder(noise, tmp_path_factory):
    """23 files, one of them broken; 2, 3 and 8 do not divide their number."""
    root = tmp_path_factory.mktemp("data") / "suite"
    for index in range(22):
        folder = root / f"gan_{index % 3}" / ("0_real", "1_fake")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise(*SIZES[index % len(SIZES)], seed=index, strength=20 + 10 * index).save(folder / f"{index}.png")
    (root / "gan_0" / "0_real" / "broken.png").write_bytes(b"\x89PNG")
    return root


def test_an_evaluation_on_3_or_8_devices_is_that_on_one(weights_file, mixed_folder):
    argv = [sys.executable, "-m", "tests.helpers.evaluation", weights_file, mixed_folder]
    several = {
        count: subprocess.Popen(argv, env=environment(JAX_NUM_CPU_DEVICES=str(count), PYTHONPATH=":".join(sys.path)), stdout=-1)
        for count in (3, 8)
    }
    alone = evaluated(weights_file, mixed_folder)
    assert len(alone["predictions"]) == 19 * len(PROTOCOLS) * len(VIEWS)
    assert len(alone["errors"]) == 4 * len(PROTOCOLS) * len(VIEWS)
    for count, process in several.items():
        assert json.loads(process.communicate(timeout=300)[0]) == alone, f"{count} devices"


@pytest.mark.slow
@pytest.mark.full
def test_two_processes_write_the_files_that_one_writes(weights_file, mixed_folder, tmp_path):
    options = [f"--protocol={','.join(PROTOCOLS)}", f"--views={','.join(VIEWS)}", f"--batch_size={BATCH_SIZE}"]
    command = [f"--weights={weights_file}", f"--data={mixed_folder}", *options]
    together = [LAUNCH / "local.sh", "-n", "2", "--devices-per-process", "3", "evaluate"]
    for name, launcher in {"alone": ["lfm", "evaluate"], "together": together}.items():
        argv = [*launcher, *command, f"--out={tmp_path / name}"]
        ran = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=600)
        assert ran.returncode == 3, ran.stderr[-3000:]  # some images cannot be scored
    for name in ("predictions.tsv", "results.json", "table.md"):
        assert (tmp_path / "together" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name
