"""The work of one image, stage by stage, from the network's dimensions: what no implementation can do without.

In: a network and an image side. Out: FLOPs (two a multiplication with addition) and the values each stage
reads and writes once, were nothing kept between stages.
"""

from dataclasses import dataclass

from lfm_jax.models import Lfm


@dataclass(frozen=True)
class Stage:
    """`values_in`, `values_out`: numbers read and written; `bytes_in`: of pixels, which are uint8."""

    name: str
    flops: int
    values_in: int
    values_out: int
    bytes_in: int = 0

    def bytes(self, width: int) -> int:
        """Moved by the stage, activations at `width` bytes each."""
        return self.bytes_in + width * (self.values_in + self.values_out)


def stages(model: Lfm, side: int) -> list[Stage]:
    """Per image of side x side px: residual and first block in one, as the residual need not be stored, then the others."""
    widths, found = tuple(model.backbone.widths), []
    before, channels = side - side % 2, 3
    for number, width in enumerate(widths, start=1):
        after = before - 1
        flops = 2 * after**2 * 4 * channels * width
        pooled = after // 2 if number < len(widths) else after
        pixels = 3 * before**2 if number == 1 else 0
        read = 0 if number == 1 else before**2 * channels
        name = f"block{number}" + (" + pool" if number < len(widths) else "")
        found.append(Stage(name if number > 1 else f"residual + {name}", flops, read, pooled**2 * width, pixels))
        before, channels = pooled, width
    found.append(Stage("projection", 2 * before**2 * channels * model.maps, before**2 * channels, before**2 * model.maps))
    found.append(Stage("top-k + head", 2 * model.maps * model.k, before**2 * model.maps, 1))
    return found


def flops(model: Lfm, side: int) -> int:
    """Of one image, forward. A training step takes three times as many, the gradient of the pixels apart."""
    return sum(stage.flops for stage in stages(model, side))
