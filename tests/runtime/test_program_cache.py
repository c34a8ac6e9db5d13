"""Compiled programs outlive the command: a second run loads them, and nothing else changes."""

import os
import subprocess
import sys

import jax
import pytest

from lfm_jax.runtime import program_cache
from lfm_jax.runtime.program_cache import ENABLE, FOLDER, WITHOUT_ADDRESSES, WORTH_KEEPING, turn_off_ours, turn_on


@pytest.mark.parametrize("devices", [1, 4])
def test_a_second_run_loads_its_programs_and_compiles_a_damaged_one_again(devices, weights_file, noise, tmp_path):
    noise(64, 64).save(tmp_path / "photo.png")
    command = [sys.executable, "-m", "lfm_jax", "predict", "--weights", weights_file, "--format", "jsonl", tmp_path / "photo.png"]
    env = {name: value for name, value in os.environ.items() if name not in (FOLDER, WITHOUT_ADDRESSES, *WORTH_KEEPING)}
    # Compiled as users compile: without optimising it takes less than is worth keeping.
    env |= {"JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path), "JAX_EXPLAIN_CACHE_MISSES": "1", "XLA_FLAGS": ""}
    env["JAX_NUM_CPU_DEVICES"] = str(devices)

    def predict():
        """The output, and whether the network had to be compiled."""
        ran = subprocess.run(command, env=env, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert "Error" not in ran.stderr
        return ran.stdout, "PERSISTENT COMPILATION CACHE MISS for 'jit_forward'" in ran.stderr

    score, compiled = predict()
    assert compiled
    assert predict() == (score, False)
    for path in (tmp_path / "lfm_jax").iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    assert predict() == (score, True)


def test_the_users_own_settings_win(tmp_path):
    for name, value in ((FOLDER, str(tmp_path / "own")), (ENABLE, "false")):
        env = {name: value, WITHOUT_ADDRESSES: "false", "XDG_CACHE_HOME": str(tmp_path)}
        before = dict(env)
        turn_on(env)
        assert env == before


def test_without_a_writable_folder_nothing_is_kept_and_nothing_reported(tmp_path):
    (tmp_path / "file").touch()
    env = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    turn_on(env)
    assert FOLDER not in env


def test_the_oldest_programs_are_deleted_when_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(program_cache, "MAX_BYTES", 250)
    folder = tmp_path / "lfm_jax"
    folder.mkdir()
    for age, name in enumerate(("newest", "middle", "oldest")):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    turn_on({"XDG_CACHE_HOME": str(tmp_path)})
    assert {path.name for path in folder.iterdir()} == {"newest", "middle"}


@pytest.mark.parametrize("ours", [True, False])
def test_several_processes_use_only_a_folder_that_the_user_named(ours, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    assert before
    env = {"XDG_CACHE_HOME": str(tmp_path)} | ({} if ours else {FOLDER: "/shared"})
    turn_on(env)
    try:
        turn_off_ours(env)
        assert jax.config.jax_compilation_cache_dir == (None if ours else before)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
