"""Module paths of the previous version still work, for one release."""

import importlib
import subprocess
import sys

import pytest

from lfm_jax._moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_path_gives_the_contents_of_the_new_module_with_a_warning(old, new):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=rf"{old} is now {new}"):
        forwarded = importlib.import_module(old)
    module = importlib.import_module(new)
    public = [name for name in vars(module) if not name.startswith("_")]
    assert public
    assert all(getattr(forwarded, name) is getattr(module, name) for name in public)


def test_an_old_sweep_file_imports_the_class_that_sweeps_expect():
    code = "from lfm_jax.sweep import Sweep; from lfm_jax.training import sweep; assert Sweep is sweep.Sweep"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.filterwarnings("ignore:lfm_jax:DeprecationWarning")
def test_functions_that_documents_of_the_version_before_name_are_where_they_were():
    from lfm_jax.evaluation.evaluate import evaluate_network
    from lfm_jax.evaluation.saved import read_evaluation
    from lfm_jax.report.files import write_files

    for module in ("lfm_jax.evaluate", "lfm_jax.compare", "lfm_jax.calibrate"):
        sys.modules.pop(module, None)
    evaluate, compare = (importlib.import_module(f"lfm_jax.{name}") for name in ("evaluate", "compare"))
    assert (evaluate.evaluate, evaluate.write, compare.read) == (evaluate_network, write_files, read_evaluation)
