"""`--format=stablehlo`: the program with its weights, one for CPU, CUDA and TPU, as `jax.export` serialises it.

NAME.stablehlo is a zip of `program.bin` and `card.json`; lfm_stablehlo.py beside it runs it without this package.
"""

import functools
import shutil
import zipfile
from pathlib import Path

import jax
import numpy as np
from jax import export

from lfm_jax.errors import UserError
from lfm_jax.export import lfm_stablehlo
from lfm_jax.export.cards import card_json
from lfm_jax.export.parity import Scorer
from lfm_jax.inference.detector import Detector
from lfm_jax.models import folding

PLATFORMS = ("cpu", "cuda", "tpu")


def write(path: Path, detector: Detector, side: int) -> None:
    """The zip, and the module that runs it."""
    program = trace(detector, side).serialize()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("program.bin", program), ("card.json", card_json(detector))):
            archive.writestr(zipfile.ZipInfo(name), content)  # without a date: the same weights give the same bytes
    module = Path(lfm_stablehlo.__file__)
    shutil.copyfile(module, path.with_name(module.name))


def trace(detector: Detector, side: int) -> export.Exported:
    """images uint8 [n, h, w, 3] -> logits float32 [n], weights inside. Sides are `side`, or any from the smallest square's on.

    Raises UserError: any side, of a network that pools a share of the positions, or whose map sizes jax cannot work out.
    """
    model, least = detector.model, detector.model.smallest_side
    if not side and model.pooling.share:
        field = "kind" if model.pooling.draw else "k_share"
        raise UserError(f"model.pooling.{field}: how many positions are pooled follows from the size: give --side=PX")
    folded = folding.fold(model, detector.variables)
    sides, constraints = ("h, w", [f"h >= {least}", f"w >= {least}"]) if not side else (f"{side}, {side}", [])
    shape = export.symbolic_shape(f"n, {sides}, 3", constraints=constraints)
    program = jax.jit(functools.partial(folding.portable, model, folded))
    try:
        return export.export(program, platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, np.uint8))
    except jax.errors.InconclusiveDimensionOperation:
        raise UserError("the map sizes of this network cannot be worked out for all sides at once: give --side=PX") from None


def scorer(path: Path) -> Scorer:
    """The file, run by the module that lies beside it."""
    return lfm_stablehlo.load(path)
