"""Views: a data set as it would be had its images been saved again, blurred, scaled or made noisy.

In: a Source and the name of a view. Out: a Source with the same examples. What a step does is what training does with it
(see `transforms`), of one strength. A view's name says all there is to it and stands in every result row. Most published
sets hold fakes as PNG and reals that were JPEG once, so a result is worth little without `fakes_q96` (the fakes alone
saved as JPEG) and `all_q96` (both) beside `native`.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from lfm_jax.data import transforms
from lfm_jax.data.images import ImageError
from lfm_jax.data.sources.base import Example, Source
from lfm_jax.errors import UserError

EXAMPLES = "native, fakes_q96, all_q96, all_q75, all_webp90, all_blur1.5, all_scale0.5, all_noise5, all_low112, all_q50+blur2"
FORMAT_VIEWS = ("native", "fakes_q96", "all_q96", "all_q75")
# The robustness grid: each kind of damage from little to much, as curves of a report.
GRID = {
    "JPEG quality": [f"all_q{quality}" for quality in (100, 90, 80, 70, 60, 50, 40, 30)],
    "WebP quality": ["all_webp90", "all_webp75"],
    "blur, sigma in px": [f"all_blur{sigma}" for sigma in ("0.5", "1", "2", "3", "5")],
    "scale": [f"all_scale{factor}" for factor in ("0.25", "0.5", "0.75", "1.5", "2")],
    "noise, sigma of 255": [f"all_noise{sigma}" for sigma in ("2", "5", "10")],
    "shorter side in px": ["all_low112", "all_low64"],
    "JPEG 50 and blur 2": ["all_q50+blur2"],
}


def low(image: Image.Image, side: float) -> Image.Image:
    """Scaled down until its shorter side is `side` px; a smaller image is left as it is."""
    return transforms.scale(image, side / min(image.size)) if side < min(image.size) else image


CHANGES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "q": transforms.jpeg,
    "webp": transforms.webp,
    "blur": transforms.blur,
    "scale": transforms.scale,
    "low": low,
}
WHOLE = {"q": range(1, 101), "webp": range(1, 101), "low": range(1, 1 << 16)}  # whole numbers; the others: above 0, up to 100
LARGEST = {"q": transforms.MAX_SIDE["JPEG"], "webp": transforms.MAX_SIDE["WEBP"]}  # px
_STEP = re.compile(rf"({'|'.join([*CHANGES, 'noise'])})(\d+(?:\.\d+)?)", re.ASCII)
_LABELS = {"all": (0, 1, None), "fakes": (1,), "reals": (0,)}
_WORDS = {
    "q": "saved as JPEG of quality {:g}",
    "webp": "saved as WebP of quality {:g}",
    "blur": "blurred by {:g} px",
    "scale": "scaled by {:g}",
    "noise": "with noise of {:g} levels of 255",
    "low": "scaled down to a shorter side of {:g} px",
}


@dataclass(frozen=True)
class View:
    """`steps` (kind, amount) one after another, on images of `labels`; none for `native`."""

    name: str
    labels: tuple[int | None, ...] = ()
    steps: tuple[tuple[str, float], ...] = ()

    def __call__(self, image: Image.Image, label: int | None, *, path: str) -> Image.Image:
        """RGB image -> RGB image. Noise depends on `path` alone. Raises ImageError where the format cannot hold it."""
        if label not in self.labels:
            return image
        rng = np.random.default_rng(zlib.crc32(path.encode("utf-8", "surrogateescape")))
        for kind, amount in self.steps:
            if max(image.size) > LARGEST.get(kind, max(image.size)):
                width, height = image.size
                raise ImageError(f"view {self.name}: {width} x {height} px is more than that format can hold")
            image = transforms.noise(image, amount, rng) if kind == "noise" else CHANGES[kind](image, amount)
        return image

    def words(self) -> str:
        """Which images are changed and how, in a sentence."""
        if not self.steps:
            return "All images as they are on disk."
        whose = {"all": "All images", "fakes": "The fakes alone", "reals": "The reals alone"}[self.name.partition("_")[0]]
        return f"{whose} {', then '.join(_WORDS[kind].format(amount) for kind, amount in self.steps)}."


class ViewedSource:
    """`source` under a view: the same examples, other pixels."""

    def __init__(self, source: Source, view: View):
        self._source, self._view = source, view
        self.name = source.name if view.name == "native" else f"{source.name} as {view.name}"
        self.examples: Sequence[Example] = source.examples

    def image(self, index: int) -> Image.Image:
        example = self.examples[index]
        return self._view(self._source.image(index), example.label, path=example.path)

    def encoded(self, index: int) -> bytes | None:
        """The file as it lies there, whatever the view."""
        return self._source.encoded(index)

    def content_hash(self, index: int) -> str:
        return f"{self._view.name} {self._source.content_hash(index)}"


def parse(name: str) -> View:
    """Name -> View: native, or LABELS_STEP[+STEP...], the steps from left to right.

    Raises:
      UserError: not the name of a view.
    """
    if name == "native":
        return View(name)
    whose, _, steps = name.partition("_")
    matches = [_STEP.fullmatch(step) for step in steps.split("+")]
    parsed = tuple((match[1], float(match[2])) for match in matches if match)
    if whose not in _LABELS or len(parsed) < len(matches) or not all(_fits(*step) for step in parsed):
        raise UserError(
            f"unknown view {name!r}: expected native, or all_, fakes_ or reals_ with q1..q100 (JPEG), webp1..webp100, "
            f"blurSIGMA, scaleFACTOR, noiseSIGMA, lowSIDE, several with +; e.g. {EXAMPLES}"
        )
    return View(name, _LABELS[whose], parsed)


def _fits(kind: str, amount: float) -> bool:
    return amount in WHOLE[kind] if kind in WHOLE else 0 < amount <= 100
