"""The formats of exports, and the one function that writes and checks a file in any of them."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from lfm_jax import models
from lfm_jax.errors import UserError, first_line
from lfm_jax.export import onnx_file, stablehlo_file, weight_files
from lfm_jax.export.parity import Parity, Scorer, check_parity
from lfm_jax.inference.network import Network
from lfm_jax.runtime.storage import Mirror, as_path, locked
from lfm_jax.weights.files import TORCH_SUFFIXES
from lfm_jax.weights.io import Weights


class Format(NamedTuple):
    """How files of one format are written and run.

    Attributes:
      suffixes: that a file's name may end in.
      write: `write(path, network, side)` writes the file, and maybe companions beside it. `side` is 0 where the file is to
        take images of any size, and always where `takes_side` is False.
      scorer: `scorer(path)` runs the written file as its users will.
      takes_side: whether a file can be made for images of one size only.
    """

    suffixes: tuple[str, ...]
    write: Callable[[Path, Network, int], None]
    scorer: Callable[[Path], Scorer]
    takes_side: bool = False


FORMATS = {
    "onnx": Format((".onnx",), onnx_file.write_onnx, onnx_file.onnx_scorer, takes_side=True),
    "stablehlo": Format((".stablehlo",), stablehlo_file.write_stablehlo, stablehlo_file.stablehlo_scorer, takes_side=True),
    "safetensors": Format((".safetensors",), weight_files.write_safetensors, weight_files.safetensors_scorer),
    "torch": Format(TORCH_SUFFIXES, weight_files.write_torch, weight_files.torch_scorer),
}


class Exported(NamedTuple):
    """The files that were written, with their sizes in bytes and the artefact first, and how well it agreed."""

    files: dict[str, int]
    parity: Parity


def export(weights: Weights, target: str | os.PathLike[str], *, format: str, side: int = 0) -> Exported:
    """Write the weights to `target` in one of FORMATS, and check the file before it appears there.

    The exported network is float32, whatever the weights were trained in.

    Args:
      side: make the file for images of `side` x `side` px only; 0 for images of any size.

    Raises:
      UserError: the suffix, the side or the network does not suit the format, or a library is missing.
      ParityError: the file computes something else than the network; nothing of it is left.
    """
    path, chosen = as_path(target), FORMATS[format]
    network = _as_float32(weights)
    if path.suffix not in chosen.suffixes:
        raise UserError(f"{target}: a file of --format={format} ends in {' or '.join(chosen.suffixes)}")
    if side and not chosen.takes_side:
        raise UserError(f"--side={side}: {format} holds weights, which take images of any size; leave it out")
    if side:
        network.model.require_size(side, side)
    mirror = Mirror(path.parent)
    mirror.folder.mkdir(parents=True, exist_ok=True)
    with _staging(mirror.folder, path.name) as staging:
        draft = staging / path.name
        try:
            chosen.write(draft, network, side)
            parity = check_parity(chosen.scorer(draft), network, side)
        except ImportError as error:
            extra = "torch" if format == "torch" else "export"
            raise UserError(f"--format={format}: {first_line(error)}; pip install 'lfm_jax[{extra}]'") from None
        files = sorted(draft.parent.iterdir(), key=lambda file: (file != draft, file.name))
        sizes = {file.name: file.stat().st_size for file in files}
        for file in reversed(files):  # the artefact last: where it is, its companions are
            file.replace(mirror.folder / file.name)
    mirror.push()
    return Exported(sizes, parity)


@contextmanager
def _staging(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder beside the target, for this process alone. One that a killed export of that name left is used again."""
    held = folder / f".lfm-export-{name}"
    with locked(held, f"export of {name}"):
        staging = held / "files"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            yield staging
        finally:
            shutil.rmtree(held, ignore_errors=True)


def _as_float32(weights: Weights) -> Network:
    """The network in float32, with a card that says so."""
    config = weights.card.model_config()
    config.compute_dtype = "float32"
    return Network(models.build(config), weights.variables, dataclasses.replace(weights.card, model=config.to_dict()))
