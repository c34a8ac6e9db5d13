"""Presets: found by name from any folder and by path, built on each other, and clear about what is wrong with one."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lfm_jax import config, presets
from lfm_jax.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working folder; what loading a preset adds to the module search path is taken off again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_found_by_name_from_any_folder_and_can_run(name, elsewhere):
    config.validate(presets.load_config(name))


@pytest.mark.parametrize(
    "preset", ["tiny", "tiny.py", "configs/tiny.py", "configs/tiny", str(ROOT / "configs" / "tiny.py"), "../configs/tiny.py"]
)
def test_name_and_path_lead_to_the_same_preset(preset, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(ROOT / "docs")
    assert presets.load_preset(preset) is presets.load_preset("tiny")


def test_a_preset_elsewhere_may_import_its_neighbours_and_the_packages_presets(elsewhere):
    (elsewhere / "neighbour_of_preset.py").write_text("STEPS = 7\n")
    (elsewhere / "mine.py").write_text(
        "from neighbour_of_preset import STEPS\n"
        "from lfm_jax.configs import tiny\n"
        "def get_config():\n"
        "    config = tiny.get_config()\n"
        "    config.steps = STEPS\n"
        "    return config\n"
    )
    assert presets.load_config("mine.py").steps == 7
    assert presets.load_config("tiny").steps == 1600


def test_a_file_wins_over_a_preset_of_the_same_name(elsewhere):
    (elsewhere / "configs").mkdir()
    (elsewhere / "configs" / "tiny.py").write_text("from lfm_jax.config import base as get_config\n")
    assert presets.load_config("configs/tiny.py").steps is None


@pytest.mark.parametrize(
    ("preset", "words"),
    [
        ("tinny", ["did you mean 'tiny'?", "ablations/pooling", "gpu8"]),
        ("xyzzy", ["no preset of that name", "ablations/pooling", "gpu8"]),
        ("ablations/poolings", ["did you mean 'ablations/pooling'?"]),
        ("gone.py", ["no such file"]),
    ],
)
def test_an_unknown_name_lists_the_presets_and_the_nearest(preset, words, lfm, elsewhere):
    ran = lfm("train", f"--config={preset}", "--workdir=run")
    assert (ran.status, ran.out) == (2, "")
    for word in [f"--config={preset}", *words]:
        assert word in ran.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import gone_module\n", r"line 1: ModuleNotFoundError: No module named 'gone_module'"),
        ("x = (\n", r"line 1: SyntaxError"),
        ("x = 1\n", r"a preset needs a function get_config\(\)"),
        ("def get_config():\n    pass\n", r"returned NoneType, expected a ConfigDict"),
        ("def get_config():\n    return {}['steps']\n", r"line 2: KeyError: 'steps'"),
        (
            "from lfm_jax.config import base\ndef get_config():\n    config = base()\n    config.batchsize = 4\n",
            r"line 4: unknown config field 'batchsize', did you mean 'batch_size'\?",
        ),
    ],
)
def test_a_preset_that_fails_is_named_with_its_line(text, message, elsewhere):
    (elsewhere / "broken.py").write_text(text)
    with pytest.raises(ConfigError, match=f"--config=broken.py.*{message}"):
        presets.load_config("broken.py")


@pytest.mark.slow
def test_a_wheel_carries_the_presets(tmp_path):
    source, installed = tmp_path / "source", tmp_path / "installed"
    for folder in ("lfm_jax", "configs"):
        shutil.copytree(ROOT / folder, source / folder)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path, source]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(installed)
    code = "from lfm_jax import presets; print(presets.FOLDER, *presets.names()); presets.load_preset('ablations/robust')"
    env = {**os.environ, "PYTHONPATH": str(installed)}
    ran = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert ran.stdout.split() == [str(installed / "lfm_jax" / "configs"), *presets.names()]
