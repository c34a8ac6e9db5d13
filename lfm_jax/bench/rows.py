"""A line in the table of a benchmark."""

from dataclasses import asdict, dataclass
from typing import Any

from lfm_jax.runtime.timing import Timing

HEADS = ["what", "batch", "images/s", "ms", "p95 ms", "MiB", "of peak", "ratio"]


@dataclass
class Row:
    """What was timed, and its figures. A figure that is not known is 0.

    Attributes:
      memory: bytes on a device.
      utilisation: share of the machine's measured peak.
      ratio: how many times as fast as the reference.
      skipped: why there are no figures; "" where there are.
    """

    what: str
    batch: int
    images_per_s: float = 0.0
    ms: float = 0.0
    p95_ms: float = 0.0
    memory: int = 0
    utilisation: float = 0.0
    ratio: float = 0.0
    skipped: str = ""

    def cells(self) -> list[str]:
        """The line under HEADS."""
        batch = str(self.batch) if self.batch else "-"
        if self.skipped or not self.images_per_s:
            return [self.what, batch, self.skipped]
        memory = f"{self.memory / 2**20:.0f}" if self.memory else "-"
        utilisation = f"{self.utilisation:.0%}" if self.utilisation else "-"
        speed = [f"{value:.1f}" for value in (self.images_per_s, self.ms, self.p95_ms)]
        return [self.what, batch, *speed, memory, utilisation, f"{self.ratio:.2f}" if self.ratio else "-"]

    def fill(self, timing: Timing, *, reference: Timing, flops: int, peak: float) -> None:
        """Enter the figures of `timing`.

        Args:
          reference: what the ratio is to.
          flops: of one image.
          peak: FLOP/s of the machine; 0 where utilisation has no meaning.
        """
        self.ms, self.p95_ms, self.images_per_s = 1e3 * timing.median, 1e3 * timing.p95, self.batch / timing.median
        self.ratio = reference.median / timing.median
        self.utilisation = self.images_per_s * flops / peak if peak else 0.0

    def to_json(self) -> dict[str, Any]:
        """The row as JSON."""
        return asdict(self)
