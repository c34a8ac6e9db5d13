"""Old module paths that documents and users' files name. Importing one gives the module's new home, with a warning.

These forwards will be removed in version 0.3.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

MOVED = {
    "lfm_jax.buckets": "lfm_jax.runtime.storage",
    "lfm_jax.calibrate": "lfm_jax.evaluation.calibrate",
    "lfm_jax.card": "lfm_jax.weights.card",
    "lfm_jax.compare": "lfm_jax.evaluation.compare",
    "lfm_jax.convert": "lfm_jax.weights.io",
    "lfm_jax.data.records": "lfm_jax.data.sources.records",
    "lfm_jax.data.tfds_builders": "lfm_jax.data.prepare.tfds_builders",
    "lfm_jax.detector": "lfm_jax.inference.detector",
    "lfm_jax.evaluate": "lfm_jax.evaluation.evaluate",
    "lfm_jax.explanation": "lfm_jax.inference.explanation",
    "lfm_jax.mesh": "lfm_jax.runtime.sharding",
    "lfm_jax.metrics": "lfm_jax.evaluation.metrics",
    "lfm_jax.run": "lfm_jax.training.run",
    "lfm_jax.scoring": "lfm_jax.inference.scoring",
    "lfm_jax.steps": "lfm_jax.training.step",
    "lfm_jax.sweep": "lfm_jax.training.sweep",
    "lfm_jax.train": "lfm_jax.training.loop",
}

RENAMED = {  # functions that documents of version 0.1 name, under new names or in another module
    "lfm_jax.calibrate": {
        "calibrate": "lfm_jax.evaluation.calibrate.calibrate_network",
        **{name: f"lfm_jax.evaluation.fitting.{name}" for name in ("Fit", "best_cut", "false_alarm_limit", "fit_temperature")},
    },
    "lfm_jax.compare": {
        "compare": "lfm_jax.evaluation.compare.compare_evaluations",
        "read": "lfm_jax.evaluation.saved.read_evaluation",
    },
    "lfm_jax.evaluate": {
        "evaluate": "lfm_jax.evaluation.evaluate.evaluate_network",
        "write": "lfm_jax.report.files.write_files",
    },
}


class _Forwarding(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the old names only, and only after every other finder has failed."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}; the old name will be removed in version 0.3", DeprecationWarning, stacklevel=2)
        module = ModuleType(spec.name, f"Forwards to {new}.")
        target = importlib.import_module(new)
        module.__dict__.update({name: value for name, value in vars(target).items() if not name.startswith("__")})
        for old, path in RENAMED.get(spec.name, {}).items():
            home, _, function = path.rpartition(".")
            setattr(module, old, getattr(importlib.import_module(home), function))
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do: `create_module` has filled the module."""


def install() -> None:
    """Make the old paths importable. Called once, when the package is imported."""
    sys.meta_path.append(_Forwarding())
