"""Weights -> files that run elsewhere, carry their card, and were checked against the detector before they appear.

In: weights, a path and one of FORMATS. Out: the file, and what it needs beside it. `lfm convert` goes between files of
weights; this is the last step, from which there need be no way back.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lfm_jax import models
from lfm_jax.errors import UserError, first_line
from lfm_jax.export import onnx_file, parity, stablehlo_file, weight_files
from lfm_jax.export.parity import Scorer
from lfm_jax.inference.detector import Detector
from lfm_jax.runtime.storage import Mirror, as_path
from lfm_jax.weights.files import TORCH_SUFFIXES
from lfm_jax.weights.io import Weights

__all__ = ["FORMATS", "Exported", "export"]


class Format(NamedTuple):
    """`write(path, detector, side)` may leave companions beside the path; `scorer(path)` runs what was written as users will.

    `side` is 0 where the file is to take images of any size, and always unless `takes_side`.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Path, Detector, int], None]
    scorer: Callable[[Path], Scorer]
    takes_side: bool = False


FORMATS = {
    "onnx": Format((".onnx",), onnx_file.write, onnx_file.scorer, takes_side=True),
    "stablehlo": Format((".stablehlo",), stablehlo_file.write, stablehlo_file.scorer, takes_side=True),
    "safetensors": Format((".safetensors",), weight_files.write_safetensors, weight_files.safetensors_scorer),
    "torch": Format(TORCH_SUFFIXES, weight_files.write_torch, weight_files.torch_scorer),
}


class Exported(NamedTuple):
    """What is there now: file names with their bytes, the artefact first, and how well it agreed."""

    files: dict[str, int]
    parity: parity.Parity


def export(weights: Weights, target: str | os.PathLike[str], *, format: str, side: int = 0) -> Exported:
    """Weights -> `target` in one of FORMATS, for images of `side` x `side` px only where that is not 0.

    The network is float32 whatever the weights were trained in.

    Raises:
      UserError: the suffix, the side or the model does not suit the format, or a library is missing.
      ParityError: what was written computes something else; nothing is left of it.
    """
    path, how = as_path(target), FORMATS[format]
    detector = _float32(weights)
    if path.suffix not in how.suffixes:
        raise UserError(f"{target}: the name of --format={format} ends in {' or '.join(how.suffixes)}")
    if side and not how.takes_side:
        raise UserError(f"--side={side}: {format} holds weights, which take images of any size; leave it out")
    if side:
        detector.model.require_size(side, side)
    mirror = Mirror(path.parent)
    mirror.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=mirror.folder, prefix=".lfm-export-") as staging:
        draft = Path(staging) / path.name
        try:
            how.write(draft, detector, side)
            agreement = parity.check(how.scorer(draft), detector, side)
        except ImportError as error:
            raise UserError(f"--format={format}: {first_line(error)}; pip install 'lfm_jax[export]'") from None
        files = sorted(draft.parent.iterdir(), key=lambda file: (file != draft, file.name))
        sizes = {file.name: file.stat().st_size for file in files}
        for file in reversed(files):  # the artefact last: where it is, all is
            file.replace(mirror.folder / file.name)
    mirror.push()
    return Exported(sizes, agreement)


def _float32(weights: Weights) -> Detector:
    """With a card that says so."""
    config = weights.card.model_config()
    config.compute_dtype = "float32"
    return Detector(models.build(config), weights.variables, dataclasses.replace(weights.card, model=config.to_dict()))
