"""The figures of compiled programs that the documents give, for devices that are not here."""

import importlib.util
import json
import subprocess
import sys

import pytest

from benchmarks import compiled
from tests.helpers.launching import LAUNCH, environment

COMPILERS = {"h100": "jax_plugins", "v5e": "libtpu"}


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.parametrize("device", COMPILERS)
def test_compiled_programs_are_as_written_down(device, tmp_path):
    if not importlib.util.find_spec(COMPILERS[device]):
        pytest.skip("needs pip install 'lfm_jax[gpu-compile,tpu]'")
    script = LAUNCH.parent / "benchmarks/compiled.py"
    argv = [sys.executable, script, f"--only={device}", f"--json={tmp_path / 'rows.json'}"]
    ran = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=3000)
    assert ran.returncode == 0, ran.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows) == sum(figure.task.topology.startswith(device) for figure in compiled.FIGURES)
    for name, *_, written, now in rows:
        assert now == pytest.approx(written, rel=0.1), name
        print(name, written, now)


@pytest.mark.parametrize(
    "figure", compiled.FIGURES, ids=lambda figure: f"{figure.task.what}, {figure.task.topology}, {figure.name}"
)
def test_no_figure_is_worse_than_that_of_the_first_version(figure):
    assert figure.first is None or figure.now < figure.first
