"""The walls of the package: who may import what, and a core free of TensorFlow and PyTorch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lfm_jax
from lfm_jax import presets
from tests.helpers.without import run_without

PACKAGE = Path(lfm_jax.__file__).parent

# From the ground up. A room may import the storeys below its own, but not the other rooms of its storey.
STOREYS = (
    ("errors", "_moved"),
    ("runtime", "ops"),
    ("models", "data"),
    ("config", "presets"),
    ("weights",),
    ("inference",),
    ("evaluation",),
    ("report",),
    ("training",),
    ("export",),
    ("bench",),
    ("configs",),
    ("verbs",),
    ("cli",),
    ("__main__",),
)
STOREY = {room: number for number, rooms in enumerate(STOREYS) for room in rooms}


def modules(package, folder):
    """{module name: file} of all that lies in a folder."""
    dotted = {".".join((package, *path.relative_to(folder).with_suffix("").parts)): path for path in folder.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in dotted.items()}


MODULES = dict(sorted((modules("lfm_jax", PACKAGE) | modules("lfm_jax.configs", presets.FOLDER)).items()))


def is_for_types_only(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(name, *, with_functions=True, with_types=True):
    """Absolute names that a module imports: at its top, and also in functions and for types unless told otherwise."""
    names = set()

    def walk(nodes):
        for node in nodes:
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative import"
                named = {f"{node.module}.{alias.name}" for alias in node.names}
                names.update(named if named <= MODULES.keys() else {node.module, *named})
            elif (with_types or not is_for_types_only(node)) and (with_functions or not isinstance(node, ast.FunctionDef)):
                walk(ast.iter_child_nodes(node))

    walk(ast.parse(MODULES[name].read_text()).body)
    return names


def own_imports(name, **options):
    """The modules of this package among them."""
    return imports(name, **options) & MODULES.keys() - {name, "lfm_jax"}


def room(module):
    return module.split(".")[1] if "." in module else ""


def users(library):
    """The modules that import a library, without the package's name."""
    return {
        name.removeprefix("lfm_jax.")
        for name in MODULES
        if any(imported == library or imported.startswith(library + ".") for imported in imports(name))
    }


def test_every_room_has_its_storey():
    assert {room(name) for name in MODULES} - {""} == STOREY.keys()


@pytest.mark.parametrize("name", MODULES)
def test_nothing_imports_a_room_above_or_beside_it(name):
    here = room(name)
    if not here:  # the face of the package
        return
    crossed = {other for other in own_imports(name) if room(other) not in ("", here) and STOREY[room(other)] >= STOREY[here]}
    assert not crossed, f"{name} imports {', '.join(sorted(crossed))}"


def test_no_modules_import_each_other_in_a_circle():
    graph = {name: own_imports(name, with_types=False) for name in MODULES}

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
    "lfm_jax.weights.io": {"lfm_jax.weights.checkpoint_files"},  # orbax
    "lfm_jax.data.prepare.build": {"lfm_jax.data.prepare.tfds_builders"},  # tensorflow_datasets
    "lfm_jax.export.weight_files": {"lfm_jax.export.lfm_torch"},  # torch
    "lfm_jax.bench.benchmark": {"lfm_jax.bench.pytorch"},  # torch
    "lfm_jax.training.sweep": {"lfm_jax.training.loop"},  # clu, orbax and the loader
}


def test_functions_import_this_package_only_to_defer_a_slow_library():
    late = {name: own_imports(name) - own_imports(name, with_functions=False) for name in MODULES}
    assert {name: imported for name, imported in late.items() if imported and room(name) not in ("verbs", "")} == SLOW_TO_LOAD


@pytest.mark.parametrize(
    ("library", "where"),
    [
        ("orbax", {"weights.checkpoint", "weights.checkpoint_files"}),
        ("etils", {"runtime.storage"}),
        ("fsspec", {"runtime.storage"}),
        ("gcsfs", set()),
        ("tensorflow", set()),
        ("torch", {"bench.pytorch", "export.lfm_torch"}),
    ],
)
def test_a_library_with_one_user_has_no_other(library, where):
    assert users(library) == where


def test_only_models_import_flax():
    assert users("flax")
    assert {room(f"lfm_jax.{name}") for name in users("flax")} == {"models"}


def test_what_is_shipped_beside_an_export_does_not_import_this_package():
    for name in ("lfm_jax.export.lfm_stablehlo", "lfm_jax.export.lfm_torch"):
        assert not {imported for imported in imports(name) if imported.split(".")[0] == "lfm_jax"}


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_loads_neither_jax_nor_a_device():
    assert "jax" not in loaded_by("import lfm_jax")


def test_the_public_names_are_listed_and_exist():
    assert set(lfm_jax.__all__) <= set(dir(lfm_jax))
    assert all(getattr(lfm_jax, name) for name in lfm_jax.__all__)


def test_slow_libraries_are_loaded_only_where_they_are_used():
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


def test_an_unknown_name_is_answered_with_the_names_that_exist():
    with pytest.raises(AttributeError, match=r"'Detectr'.*offers Detector, Failure, Prediction, load"):
        _ = lfm_jax.Detectr
