"""`--format=stablehlo`: one program for CPU, CUDA and TPU with its weights inside, as `jax.export` serialises it.

NAME.stablehlo is a zip of `program.bin` and `card.json`; lfm_stablehlo.py beside it runs it without this package.
"""

import functools
import shutil
import zipfile
from pathlib import Path

import jax
import jax.export
import numpy as np

from lfm_jax.errors import UserError
from lfm_jax.export import lfm_stablehlo
from lfm_jax.export.cards import card_json
from lfm_jax.export.parity import Scorer
from lfm_jax.inference.network import Network
from lfm_jax.models import folding

PLATFORMS = ("cpu", "cuda", "tpu")


def write_stablehlo(path: Path, network: Network, side: int) -> None:
    """Write the zip, and the module that runs it. Raises UserError as `trace` does."""
    program = trace(network, side).serialize()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("program.bin", program), ("card.json", card_json(network))):
            archive.writestr(zipfile.ZipInfo(name), content)  # without a date: the same weights give the same bytes
    module = Path(lfm_stablehlo.__file__)
    shutil.copyfile(module, path.with_name(module.name))


def trace(network: Network, side: int) -> jax.export.Exported:
    """The program from images uint8 [n, h, w, 3] to logits float32 [n], with the weights inside.

    Args:
      side: h and w; 0 for any that are not smaller than the network's smallest square.

    Raises:
      UserError: `side` is 0, but the network pools a share of the positions or jax cannot work out its map sizes.
    """
    model, least = network.model, network.model.smallest_side
    if not side and model.pooling.share:
        field = "kind" if model.pooling.draw else "k_share"
        raise UserError(f"model.pooling.{field}: how many positions are pooled depends on the size: give --side=PX")
    folded = folding.fold(model, network.variables)
    sides, constraints = ("h, w", [f"h >= {least}", f"w >= {least}"]) if not side else (f"{side}, {side}", [])
    shape = jax.export.symbolic_shape(f"n, {sides}, 3", constraints=constraints)
    program = jax.jit(functools.partial(folding.portable, model, folded))
    try:
        return jax.export.export(program, platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, np.uint8))
    except jax.errors.InconclusiveDimensionOperation:
        raise UserError("the map sizes of this network cannot be worked out for all sides at once: give --side=PX") from None


def stablehlo_scorer(path: Path) -> Scorer:
    """The file, run by the module that lies beside it."""
    return lfm_stablehlo.load(path)
