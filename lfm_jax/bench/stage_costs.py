"""What one image costs in each stage of a network: the FLOPs and the memory traffic that no implementation can do without."""

from dataclasses import dataclass

from lfm_jax.models import Lfm


@dataclass(frozen=True)
class StageCost:
    """The cost of a stage, if nothing stayed in fast memory between stages.

    Attributes:
      flops: a multiplication with addition counts as two.
      values_in, values_out: activations read and written, each once.
      bytes_in: of pixels, which are uint8.
    """

    name: str
    flops: int
    values_in: int
    values_out: int
    bytes_in: int = 0

    def bytes(self, width: int) -> int:
        """Memory traffic, with activations of `width` bytes each."""
        return self.bytes_in + width * (self.values_in + self.values_out)


def stage_costs(model: Lfm, side: int) -> list[StageCost]:
    """Costs of an image of side x side px. The residual is counted with the first block, because it need not be stored."""
    widths, costs = tuple(model.backbone.widths), []
    before, channels = side - side % 2, 3
    for number, width in enumerate(widths, start=1):
        after = before - 1
        flops = 2 * after**2 * 4 * channels * width
        pooled = after // 2 if number < len(widths) else after
        pixels = 3 * before**2 if number == 1 else 0
        read = 0 if number == 1 else before**2 * channels
        name = f"block{number}" + (" + pool" if number < len(widths) else "")
        costs.append(StageCost(name if number > 1 else f"residual + {name}", flops, read, pooled**2 * width, pixels))
        before, channels = pooled, width
    positions = before**2
    costs.append(StageCost("projection", 2 * positions * channels * model.maps, positions * channels, positions * model.maps))
    costs.append(StageCost("top-k + head", 2 * model.maps * model.k, positions * model.maps, 1))
    return costs


def flops_per_image(model: Lfm, side: int) -> int:
    """FLOPs of one forward pass. A training step takes three times as many, except for the gradient of the pixels."""
    return sum(stage.flops for stage in stage_costs(model, side))
