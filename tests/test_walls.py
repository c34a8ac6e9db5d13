"""The walls of the package: who may import what, and a core free of TensorFlow and PyTorch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lfm_jax
from tests.helpers.without import run_without

PACKAGE = Path(lfm_jax.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground up; a room imports its own storey and those below it, of a storey with several rooms none the others.
STOREYS = (
    ("errors", "_moved"),
    ("runtime", "ops"),
    ("models", "data"),
    ("config",),
    ("weights",),
    ("inference",),
    ("evaluation",),
    ("report",),
    ("training",),
    ("export",),
    ("bench",),
    ("verbs",),
    ("cli",),
    ("__main__",),
)
STOREY = {room: number for number, rooms in enumerate(STOREYS) for room in rooms}


def module_name(path):
    parts = ("lfm_jax", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def is_for_types_only(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(path, *, with_functions=True, with_types=True):
    """Absolute names that a file imports: at the top, and in functions and for types unless left out."""
    names = set()

    def walk(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative import"
                named = {f"{node.module}.{alias.name}" for alias in node.names}
                names.update(named if named <= MODULES.keys() else {node.module, *named})
            elif (with_types or not is_for_types_only(node)) and (with_functions or not isinstance(node, ast.FunctionDef)):
                walk(ast.iter_child_nodes(node))

    walk(ast.parse(path.read_text()).body)
    return names


def own_imports(path, **options):
    """The modules of this package among them."""
    return {name for name in imports(path, **options) if name in MODULES} - {module_name(path), "lfm_jax"}


def room(module):
    return module.split(".")[1] if "." in module else ""


def users(package):
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if any(name == package or name.startswith(package + ".") for name in imports(path))
    }


def test_every_room_has_its_storey():
    assert {room(name) for name in MODULES} - {""} == STOREY.keys()


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_imports_a_room_above_or_beside_it(name):
    here = room(name)
    if not here:  # the face of the package
        return
    crossed = {
        other for other in own_imports(MODULES[name]) if room(other) and room(other) != here and STOREY[room(other)] >= STOREY[here]
    }
    assert not crossed, f"{name} imports {', '.join(sorted(crossed))}"


def test_no_two_modules_import_each_other_however_far_around():
    graph = {name: own_imports(path, with_types=False) for name, path in MODULES.items()}

    def reachable(start):
        seen, waiting = set(), list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += graph[name]
        return seen

    assert not [name for name in graph if name in reachable(name)]


SLOW_TO_LOAD = {  # why a function imports a module of this package
    "lfm_jax.weights.io": {"lfm_jax.weights.checkpoint"},  # orbax
    "lfm_jax.data.prepare.prepare": {"lfm_jax.data.prepare.tfds_builders"},  # tensorflow_datasets
    "lfm_jax.export.weight_files": {"lfm_jax.export.lfm_torch"},  # torch
    "lfm_jax.bench.report": {"lfm_jax.bench.torch_lfm"},  # torch
    "lfm_jax.training.sweep": {"lfm_jax.training.loop"},  # clu, orbax and the loader
}


def test_functions_import_this_package_only_to_defer_a_slow_library():
    late = {name: own_imports(path) - own_imports(path, with_functions=False) for name, path in MODULES.items()}
    assert {name: found for name, found in late.items() if found and room(name) not in ("verbs", "")} == SLOW_TO_LOAD


@pytest.mark.parametrize(
    ("library", "where"),
    [
        ("orbax", {"weights/checkpoint.py"}),
        ("etils", {"runtime/storage.py"}),
        ("fsspec", {"runtime/storage.py"}),
        ("gcsfs", set()),
        ("tensorflow", set()),
        ("torch", {"weights/files.py", "bench/torch_lfm.py", "export/lfm_torch.py"}),
    ],
)
def test_a_library_with_one_user_has_no_other(library, where):
    assert users(library) == where


def test_only_models_import_flax():
    assert users("flax")
    assert all(path.startswith("models/") for path in users("flax"))


def test_what_is_shipped_beside_an_export_knows_nothing_of_this_package():
    for name in ("lfm_stablehlo.py", "lfm_torch.py"):
        assert not {found for found in imports(PACKAGE / "export" / name) if found.split(".")[0] == "lfm_jax"}


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_loads_neither_jax_nor_a_device():
    assert "jax" not in loaded_by("import lfm_jax")


def test_the_public_names_are_listed_and_there():
    assert set(lfm_jax.__all__) <= set(dir(lfm_jax))
    assert all(getattr(lfm_jax, name) for name in lfm_jax.__all__)


def test_what_is_slow_to_load_is_loaded_where_it_is_used():
    slow = {"sklearn", "matplotlib", "tensorboardX", "tensorflow_datasets", "torch", "onnx", "onnxruntime"}
    everything = "import lfm_jax.cli, lfm_jax.training.loop, lfm_jax.data.prepare.prepare, lfm_jax.export"
    assert not slow & loaded_by(everything)


def test_a_detector_loads_neither_checkpoints_nor_loaders():
    assert not {"orbax", "grain", "clu"} & loaded_by("import lfm_jax.inference.detector, lfm_jax.training.step")


def test_the_training_stack_works_without_pytorch_and_tensorflow():
    code = """
import lfm_jax.cli, lfm_jax.evaluation.evaluate, lfm_jax.inference.predict, lfm_jax.training.loop
assert not {"torch", "tensorflow"} & set(sys.modules)
"""
    run_without(("torch", "tensorflow"), code)


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"'Detectr'.*offers Detector, Failure, Prediction, load"):
        _ = lfm_jax.Detectr
