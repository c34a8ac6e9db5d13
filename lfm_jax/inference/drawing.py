"""Evidence as pictures: painted on the image it came from, beside the image's residual, and many images on one sheet."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lfm_jax.data.protocols import Box
from lfm_jax.inference.evidence import middle, window, without_overlap
from lfm_jax.models import Lfm
from lfm_jax.runtime.palette import FAKE, REAL

STRONGEST = 0.85  # opacity of an image's strongest position
FRAMED = 5  # windows
THUMBNAIL, CAPTION, COLUMNS = 256, 34, 5  # of a sheet: px, px, and images
RESIDUAL_GAIN = 8  # neighbouring pixels differ by a few levels of 255
LARGEST_PANEL = 1600  # px of the longer side of what a figure shows

Window = tuple[Box, float]  # its place in the image and its evidence


def overlay(model: Lfm, pixels: np.ndarray, evidence: np.ndarray) -> Image.Image:
    """pixels uint8 [H, W, 3] and their evidence [f(H), f(W)] -> the image in grey, with red for fake and blue for real.

    A position is painted on the middle of the window that it sees. Most positions are far weaker than the strongest, so
    opacity is the square root of a position's share of it. The strongest windows, at most FRAMED, are framed.
    """
    heat = np.zeros(pixels.shape[:2], np.float32)
    for place in zip(*np.nonzero(evidence), strict=True):
        x0, y0, x1, y1 = middle(model, place, pixels)
        heat[y0:y1, x0:x1] = evidence[place]
    ranked = (divmod(int(place), evidence.shape[1]) for place in np.argsort(-np.abs(evidence), axis=None))
    windows = ((window(model, place, pixels), float(evidence[place])) for place in ranked if evidence[place] != 0)
    return paint(pixels, heat, without_overlap(windows, FRAMED, box=lambda window: window[0]))


def paint(pixels: np.ndarray, heat: np.ndarray, frames: Sequence[Window]) -> Image.Image:
    """pixels uint8 [H, W, 3], evidence float32 [H, W] and the windows to frame -> the picture that `overlay` describes."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None].repeat(3, 2)
    painted = heat[..., None]
    opacity = STRONGEST * np.sqrt(np.abs(painted) / max(float(np.abs(heat).max()), np.finfo(np.float32).tiny))
    colour = np.where(painted > 0, *np.array([FAKE, REAL], np.float32))
    image = Image.fromarray(np.round(grey * (1 - opacity) + colour * opacity).astype(np.uint8))
    pen, thick = ImageDraw.Draw(image), max(1, max(image.size) // 128)
    for (x0, y0, x1, y1), evidence in frames:
        for out, line in ((thick, FAKE if evidence > 0 else REAL), (2 * thick, (255, 255, 255))):
            pen.rectangle((x0 - out, y0 - out, x1 - 1 + out, y1 - 1 + out), outline=line, width=thick)
    return image


def figure(image: Image.Image, overlay: Image.Image, *, largest: float, windows: Sequence[Window], title: str) -> bytes:
    """Draws an explanation as PNG: image, evidence with its scale, NPR residual, and the strongest windows enlarged.

    Args:
      largest: evidence at the ends of the scale.
      windows: the strongest, at most FRAMED.
    """
    from matplotlib.figure import Figure  # here, as it takes a second to load

    whole = Figure(figsize=(13, 7.4), layout="constrained")
    above, below = whole.subfigures(2, 1, squeeze=False, height_ratios=(2.6, 1))[:, 0]
    panels = above.subplots(1, 3)
    pictures = [image, overlay, residual(image)]
    titles = ["image", "evidence: red for fake, blue for real", f"NPR residual, {RESIDUAL_GAIN} times"]
    for axes, picture, name in zip(panels, pictures, titles, strict=True):
        axes.imshow(at_most(picture, LARGEST_PANEL))
        axes.set_title(name, fontsize=10)
        axes.set_axis_off()
    _scale(above, panels[1], largest)
    for axes in (places := below.subplots(1, FRAMED, squeeze=False)[0]):
        axes.set_axis_off()
    for axes, (box, evidence) in zip(places, windows, strict=False):
        axes.imshow(image.crop(box), interpolation="nearest")
        axes.set_title(f"{evidence:+.3f} {'fake' if evidence > 0 else 'real'}, x {box[0]} y {box[1]}", fontsize=9)
    whole.suptitle(title, fontsize=11, parse_math=False)  # a file's own words may be in it
    file = io.BytesIO()
    whole.savefig(file, dpi=110)
    return file.getvalue()


def _scale(part: Any, axes: Any, largest: float) -> None:
    """The colour bar below `axes`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import FuncNorm, LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("evidence", [np.array(rgb) / 255 for rgb in (REAL, (255, 255, 255), FAKE)])
    # Colours follow the square root, as the opacity of the overlay does.
    root = FuncNorm((lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda y: np.sign(y) * y**2), vmin=-largest, vmax=largest)
    bar = part.colorbar(ScalarMappable(root, colours), ax=axes, location="bottom", fraction=0.05, pad=0.02)
    bar.set_ticks([-largest, -largest / 4, 0, largest / 4, largest])
    bar.set_label("added to the logit by one position of the map", fontsize=8)


def residual(image: Image.Image) -> Image.Image:
    """RGB image -> how far each pixel is from the top-left one of its 2 x 2 block, times RESIDUAL_GAIN.

    The same as `ops.npr.npr_residual`, in numpy, because jax would compile it for every size in a folder.
    """
    pixels = np.asarray(image).astype(np.int16)
    pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    distance = np.abs(pixels - pixels[::2, ::2].repeat(2, 0).repeat(2, 1))
    return Image.fromarray((distance * RESIDUAL_GAIN).clip(0, 255).astype(np.uint8))


def thumbnail_sheet(thumbnails: Sequence[tuple[str, float, Image.Image]]) -> Image.Image:
    """(name, score, picture) of many images -> one picture of them all, row by row in their order."""
    columns = min(COLUMNS, len(thumbnails))
    across, down = THUMBNAIL + 8, THUMBNAIL + CAPTION
    sheet = Image.new("RGB", (columns * across, -(-len(thumbnails) // columns) * down), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (name, score, image) in enumerate(thumbnails):
        left, top = place % columns * across + 4, place // columns * down
        sheet.paste(image, (left + (THUMBNAIL - image.width) // 2, top + CAPTION))
        plain = name.encode("ascii", "replace").decode()
        pen.text((left, top + 2), plain if len(plain) <= 38 else f"...{plain[-35:]}", fill="black", font=font)
        pen.text((left, top + 17), f"score {score:.3f}", fill="black", font=font)
    return sheet


def at_most(image: Image.Image, side: int) -> Image.Image:
    """A copy of the image, scaled down if its longer side is above `side` px."""
    small = image.copy()
    small.thumbnail((side, side))
    return small
