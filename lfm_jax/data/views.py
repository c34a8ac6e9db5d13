"""Views: what a data set would be if its images had been saved again, blurred, scaled or made noisy.

A view turns a Source into another one with the same examples and changed pixels. Its steps are the augmentations of
training (see `transforms`), each at one strength; its name says everything about it and stands in every row of results.

Most published sets hold fakes as PNG and reals that were once JPEG, so a result means little without `fakes_q96` (only the
fakes saved as JPEG) and `all_q96` (both) beside `as_is`.
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

AS_IS = "as_is"
ALIASES = {"native": AS_IS}  # names of earlier versions, in commands and in the files they wrote
EXAMPLES = "as_is, fakes_q96, all_q96, all_q75, all_webp90, all_blur1.5, all_scale0.5, all_noise5, all_low112, all_q50+blur2"
FORMAT_VIEWS = (AS_IS, "fakes_q96", "all_q96", "all_q75")
# The robustness grid: each kind of damage from weak to strong, drawn as curves in a report.
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
    """Scales an image down until its shorter side is `side` px; a smaller one is returned unchanged."""
    return transforms.scale(image, side / min(image.size)) if side < min(image.size) else image


CHANGES: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "q": transforms.jpeg,
    "webp": transforms.webp,
    "blur": transforms.blur,
    "scale": transforms.scale,
    "low": low,
}
WHOLE_AMOUNTS = {"q": range(1, 101), "webp": range(1, 101), "low": range(1, 1 << 16)}
LARGEST_AMOUNT = 100  # of the other steps, which take any number above 0
LARGEST_SIDE = {"q": transforms.MAX_SIDE["JPEG"], "webp": transforms.MAX_SIDE["WEBP"]}  # px
_STEP = re.compile(rf"({'|'.join([*CHANGES, 'noise'])})(\d+(?:\.\d+)?)", re.ASCII)
_LABELS = {"all": (0, 1, None), "fakes": (1,), "reals": (0,)}
_SUBJECTS = {"all": "All images", "fakes": "Only the fakes,", "reals": "Only the reals,"}
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
    """Applies `steps` (kind, amount) in order to images whose label is among `labels`; `as_is` has none."""

    name: str
    labels: tuple[int | None, ...] = ()
    steps: tuple[tuple[str, float], ...] = ()

    def __call__(self, image: Image.Image, label: int | None, *, path: str) -> Image.Image:
        """RGB image -> RGB image. Noise depends on `path` alone, so that every run draws the same.

        Raises:
          ImageError: the image is larger than the format of a step can hold.
        """
        if label not in self.labels:
            return image
        rng = np.random.default_rng(zlib.crc32(path.encode("utf-8", "surrogateescape")))
        for kind, amount in self.steps:
            if max(image.size) > LARGEST_SIDE.get(kind, max(image.size)):
                width, height = image.size
                raise ImageError(f"view {self.name}: {width} x {height} px is more than this format can hold")
            image = transforms.noise(image, amount, rng) if kind == "noise" else CHANGES[kind](image, amount)
        return image

    def words(self) -> str:
        """Which images are changed and how, as a sentence."""
        if not self.steps:
            return "All images as they are on disk."
        subject = _SUBJECTS[self.name.partition("_")[0]]
        return f"{subject} {', then '.join(_WORDS[kind].format(amount) for kind, amount in self.steps)}."


class ViewedSource:
    """`source` seen through a view: the same examples, other pixels."""

    def __init__(self, source: Source, view: View):
        self._source, self._view = source, view
        self.name = source.name if view.name == AS_IS else f"{source.name} as {view.name}"
        self.examples: Sequence[Example] = source.examples

    def image(self, index: int) -> Image.Image:
        example = self.examples[index]
        return self._view(self._source.image(index), example.label, path=example.path)

    def encoded(self, index: int) -> bytes | None:
        """The file on disk, which no view changes."""
        return self._source.encoded(index)

    def content_hash(self, index: int) -> str:
        return f"{self._view.name} {self._source.content_hash(index)}"


def current_name(name: str) -> str:
    """A view's name as it is written today: `native` of earlier versions is `as_is`."""
    return ALIASES.get(name, name)


def parse(name: str) -> View:
    """Reads the name of a view: as_is, or LABELS_STEP[+STEP...] with its steps from left to right.

    Raises:
      UserError: not the name of a view.
    """
    name = current_name(name)
    if name == AS_IS:
        return View(name)
    subject, _, steps = name.partition("_")
    matches = [_STEP.fullmatch(step) for step in steps.split("+")]
    parsed = tuple((match[1], float(match[2])) for match in matches if match)
    if subject not in _LABELS or len(parsed) < len(matches) or not all(_in_range(*step) for step in parsed):
        raise UserError(
            f"unknown view {name!r}: expected as_is, or all_, fakes_ or reals_ followed by q1..q100 (JPEG), webp1..webp100, "
            f"blurSIGMA, scaleFACTOR, noiseSIGMA or lowSIDE, several joined by +; for example {EXAMPLES}"
        )
    return View(name, _LABELS[subject], parsed)


def _in_range(kind: str, amount: float) -> bool:
    return amount in WHOLE_AMOUNTS[kind] if kind in WHOLE_AMOUNTS else 0 < amount <= LARGEST_AMOUNT
