"""Who may import what: the layers of the package, and a core free of TensorFlow and PyTorch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lfm_jax
from tests.without import run_without

PACKAGE = Path(lfm_jax.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path, *, top_level_only=False):
    """Absolute names imported by a file."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def users(package):
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if any(name == package or name.startswith(package + ".") for name in imports(path))
    }


def test_only_checkpoint_imports_orbax():
    assert users("orbax") == {"checkpoint.py"}


def test_only_buckets_knows_how_buckets_are_reached():
    assert users("etils") == users("fsspec") == {"buckets.py"}
    assert not users("gcsfs")


def test_only_models_import_flax():
    assert users("flax")
    assert all(path.startswith("models/") for path in users("flax"))


def test_pytorch_and_tensorflow_are_imported_by_no_module_when_it_loads():
    at_once = {"bench/torch_lfm.py", "export/lfm_torch.py"}
    assert users("torch") == {"convert/files.py", *at_once}
    assert not users("tensorflow")
    assert not any(
        {"torch", "lfm_jax.bench.torch_lfm", "lfm_jax.export.lfm_torch"} & imports(path, top_level_only=True)
        for path in FILES
        if path.relative_to(PACKAGE).as_posix() not in at_once
    )


def test_what_is_shipped_beside_an_export_knows_nothing_of_this_package():
    for name in ("lfm_stablehlo.py", "lfm_torch.py"):
        assert not {found for found in imports(PACKAGE / "export" / name) if found.split(".")[0] == "lfm_jax"}


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("ops", {"lfm_jax.models", "lfm_jax.data", "lfm_jax.config", "flax", "ml_collections"}),
        ("models", {"lfm_jax.data", "lfm_jax.train", "lfm_jax.detector", "lfm_jax.convert"}),
        ("data", {"lfm_jax.models", "lfm_jax.ops", "lfm_jax.train", "lfm_jax.detector", "lfm_jax.convert"}),
        ("convert", {"lfm_jax.train", "lfm_jax.run", "lfm_jax.detector", "lfm_jax.data", "lfm_jax.export"}),
        ("export", {"lfm_jax.train", "lfm_jax.run", "lfm_jax.bench", "lfm_jax.checkpoint"}),
    ],
)
def test_nothing_imports_upward(folder, forbidden):
    files = [path for path in FILES if path.parent == PACKAGE / folder]
    assert files
    for path in files:
        crossed = {name for name in imports(path) for wall in forbidden if name == wall or name.startswith(wall + ".")}
        assert not crossed, f"{path.relative_to(PACKAGE)} imports {crossed}"


def test_importing_the_package_loads_neither_jax_nor_a_device():
    code = "import sys, lfm_jax; assert 'jax' not in sys.modules; assert 'Detector' in dir(lfm_jax) or lfm_jax.__all__"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_slow_to_load_is_loaded_where_it_is_used():
    slow = {"sklearn", "matplotlib", "tensorboardX", "tensorflow_datasets", "torch", "onnx", "onnxruntime"}
    code = f"import sys, lfm_jax.cli, lfm_jax.train, lfm_jax.data.prepare, lfm_jax.export; print({slow} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "set()"


def test_a_detector_loads_neither_checkpoints_nor_loaders():
    code = "import sys, lfm_jax.detector, lfm_jax.steps; print({'orbax', 'grain', 'clu', 'tqdm'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "set()"


def test_the_training_stack_works_without_pytorch_and_tensorflow():
    code = """
import lfm_jax.cli, lfm_jax.evaluate, lfm_jax.predict, lfm_jax.train
assert not {"torch", "tensorflow"} & set(sys.modules)
"""
    run_without(("torch", "tensorflow"), code)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"'Detectr'.*offers Detector, Failure, Prediction, load"):
        _ = lfm_jax.Detectr
