"""Evidence as pictures: painted on the image it came from, beside the image's residual, and many images on one sheet."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lfm_jax.data.protocols import Box
from lfm_jax.inference import verdict
from lfm_jax.inference.answers import shortened
from lfm_jax.inference.evidence import middle, window, without_overlap
from lfm_jax.inference.fonts import font_for
from lfm_jax.models import Lfm
from lfm_jax.runtime.palette import FAKE, REAL

STRONGEST = 0.85  # opacity of an image's strongest position
FRAMED = 5  # windows
THUMBNAIL, CAPTION, COLUMNS = 256, 34, 5  # of a sheet: px, px, and images
BRIGHTEST, LARGEST_GAIN = 99, 64  # the percentile of the residual that is drawn white; neighbours differ by a few levels of 255
LARGEST_PANEL, SMALL_PANEL = 1600, 300  # px of the longer side of what a figure shows; below the latter pixels are kept sharp
SCORED = (255, 176, 0)  # amber; neither of the colours of evidence
ANSWER_COLOURS = {verdict.FOUND: FAKE, verdict.NONE: REAL, verdict.UNKNOWN: (90, 90, 90)}

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
    return paint(Image.fromarray(pixels), heat, without_overlap(windows, FRAMED, box=lambda window: window[0]))


def paint(image: Image.Image, heat: np.ndarray, frames: Sequence[Window], *, side: int | None = None) -> Image.Image:
    """An RGB image, evidence float32 [height, width] and the windows to frame -> the picture that `overlay` describes.

    All three are first scaled down where the image's longer side is above `side` px.
    """
    largest = max(float(np.abs(heat).max()), np.finfo(np.float32).tiny)
    if side and max(image.size) > side:
        small = at_most(image, side)
        heat = np.asarray(Image.fromarray(heat).resize(small.size, Image.Resampling.BOX))
        frames = [(scaled(box, small.width / image.width), evidence) for box, evidence in frames]
        image = small
    grey = np.asarray(image.convert("L"), np.float32)[..., None]
    painted = heat[..., None]
    opacity = STRONGEST * np.sqrt(np.abs(painted) / largest)
    colour = np.where(painted > 0, *np.array([FAKE, REAL], np.float32))
    image = Image.fromarray(np.round(grey * (1 - opacity) + colour * opacity).astype(np.uint8))
    pen, thick = ImageDraw.Draw(image), max(1, max(image.size) // 128)
    for (x0, y0, x1, y1), evidence in frames:
        for out, line in ((thick, FAKE if evidence > 0 else REAL), (2 * thick, (255, 255, 255))):
            pen.rectangle((x0 - out, y0 - out, x1 - 1 + out, y1 - 1 + out), outline=line, width=thick)
    return image


@dataclass(frozen=True)
class Words:
    """What stands above a figure: the answer, the name of the file (may be ""), and lines in small print."""

    answer: str
    name: str
    lines: Sequence[str]


def figure(image: Image.Image, heat: np.ndarray, *, scored: Box, windows: Sequence[Window], words: Words) -> bytes:
    """Draws an explanation as PNG: the image, the evidence and the residual of its scored part, and the strongest windows.

    Args:
      heat: float32 [height, width] of the image; see `Explanation`.
      scored: the part of the image that was looked at. It is framed in the first panel; the next two show it alone.
      windows: the strongest, at most FRAMED.
    """
    from matplotlib.figure import Figure  # here, as it takes a second to load

    whole = Figure(figsize=(13, 8.6))
    top = 1 - _write_header(whole, words)
    edges = {"left": 0.015, "right": 0.985, "top": top - 0.03, "bottom": 0.02}  # by hand: matplotlib's own layout takes a second
    grid = whole.add_gridspec(4, FRAMED * 3, height_ratios=(5, 0.12, 0.62, 1.9), hspace=0.08, wspace=0.25, **edges)
    panels = [whole.add_subplot(grid[0, FRAMED * place : FRAMED * (place + 1)]) for place in range(3)]
    (left, top, right, bottom), seen = scored, image.crop(scored)
    moved = [((x0 - left, y0 - top, x1 - left, y1 - top), evidence) for (x0, y0, x1, y1), evidence in windows]
    painted = paint(seen, heat[top:bottom, left:right], moved, side=LARGEST_PANEL)
    noise, gain = residual(seen)
    everything = scored == (0, 0, *image.size)
    titles = [
        "the image" if everything else "the image; what was looked at is framed",
        "evidence: red for a trace, blue against",
        f"NPR residual (what the network sees), {gain} times",
    ]
    for axes, picture, title in zip(panels, [framed(image, scored), painted, noise], titles, strict=True):
        axes.imshow(at_most(picture, LARGEST_PANEL), interpolation="nearest" if max(picture.size) < SMALL_PANEL else None)
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
        axes.set_anchor("N")  # level at the top, whatever their shapes
    _scale(whole, whole.add_subplot(grid[1, FRAMED : 2 * FRAMED]), float(np.abs(heat).max()) or 1.0)
    for place in range(FRAMED):
        axes = whole.add_subplot(grid[3, 3 * place : 3 * (place + 1)])
        axes.set_axis_off()
        if place < len(windows):
            box, evidence = windows[place]
            axes.imshow(image.crop(box), interpolation="nearest")
            axes.set_title(f"{evidence:+.3f} {'for' if evidence > 0 else 'against'}, x {box[0]} y {box[1]}", fontsize=9)
    file = io.BytesIO()
    whole.savefig(file, dpi=110)
    return file.getvalue()


def _write_header(whole: Any, words: Words) -> float:
    """Writes the words at the top of a figure; returns the share of its height that they take."""
    from matplotlib.font_manager import FontProperties

    inches, height = float(whole.get_figheight()), 0.12
    file, name = font_for(words.name)
    lines: list[tuple[str, int, dict[str, Any]]] = [(words.answer, 17, {"weight": "bold"})]
    lines += [(shortened(name, 110), 12, {"fontproperties": FontProperties(fname=file, size=12)})] if name else []
    lines += [(part, 9, {}) for line in words.lines for part in textwrap.wrap(line, 170)]
    for text, size, options in lines:
        text = text.replace("$", r"\$")  # otherwise matplotlib reads formulas
        whole.text(0.015, 1 - height / inches, text, va="top", **({"fontsize": size} | options))
        height += size * 1.45 / 72
    return (height + 0.1) / inches


def framed(image: Image.Image, scored: Box, *, side: int = LARGEST_PANEL) -> Image.Image:
    """The image, at most `side` px, with a frame around the part that was scored unless that is all of it."""
    small = at_most(image, side)
    if scored == (0, 0, *image.size):
        return small
    x0, y0, x1, y1 = scaled(scored, small.width / image.width)
    pen, thick = ImageDraw.Draw(small), max(2, max(small.size) // 150)
    for out, colour in ((thick, SCORED), (2 * thick, (255, 255, 255))):
        pen.rectangle((x0 - out, y0 - out, x1 - 1 + out, y1 - 1 + out), outline=colour, width=thick)
    return small


def scaled(box: Box, scale: float) -> Box:
    """The box in an image that is made `scale` times as large."""
    left, top, right, bottom = (round(side * scale) for side in box)
    return left, top, right, bottom


def _scale(whole: Any, axes: Any, largest: float) -> None:
    """The colour bar, drawn in `axes`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import FuncNorm, LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("evidence", [np.array(rgb) / 255 for rgb in (REAL, (255, 255, 255), FAKE)])
    # Colours follow the square root, as the opacity of the overlay does.
    root = FuncNorm((lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda y: np.sign(y) * y**2), vmin=-largest, vmax=largest)
    bar = whole.colorbar(ScalarMappable(root, colours), cax=axes, orientation="horizontal")
    shares = (-1, -0.25, 0, 0.25, 1)
    bar.set_ticks([share * largest for share in shares], labels=[f"{share * largest:+.3g}" if share else "0" for share in shares])
    bar.ax.tick_params(labelsize=8)
    bar.set_label("what one place added to the logit; all of them and the bias make the score", fontsize=8)


def residual(image: Image.Image) -> tuple[Image.Image, int]:
    """RGB image -> how far each pixel is from the top-left one of its 2 x 2 block, times a gain that makes it visible; the gain.

    The same as `ops.npr.npr_residual`, in numpy, because jax would compile it for every size in a folder.
    """
    pixels = np.asarray(image).astype(np.int16)
    pixels = pixels[: max(pixels.shape[0] // 2 * 2, 1), : max(pixels.shape[1] // 2 * 2, 1)]
    distance = np.abs(pixels - pixels[::2, ::2].repeat(2, 0).repeat(2, 1)[: pixels.shape[0], : pixels.shape[1]])
    gain = int(np.clip(255 / max(float(np.percentile(distance, BRIGHTEST)), 1.0), 1, LARGEST_GAIN))
    return Image.fromarray((distance * gain).clip(0, 255).astype(np.uint8)), gain


def thumbnail_sheet(thumbnails: Sequence[tuple[str, str, float, Image.Image]]) -> Image.Image:
    """(name, answer, score, picture) of many images -> one picture of them all, row by row in their order."""
    columns = min(COLUMNS, len(thumbnails))
    across, down = THUMBNAIL + 8, THUMBNAIL + CAPTION
    sheet = Image.new("RGB", (columns * across, -(-len(thumbnails) // columns) * down), "white")
    pen = ImageDraw.Draw(sheet)
    for place, (name, answer, score, image) in enumerate(thumbnails):
        left, top = place % columns * across + 4, place // columns * down
        sheet.paste(image, (left + (THUMBNAIL - image.width) // 2, top + CAPTION))
        pen.text((left, top + 2), answer, fill=ANSWER_COLOURS.get(answer, "black"), font=_font(answer, 13)[0])
        font, name = _font(name, 12)
        pen.text((left + THUMBNAIL, top + 3), f"{score:.3f}", fill="black", font=_font("", 12)[0], anchor="ra")
        pen.text((left, top + 19), shortened(name, 33), fill="black", font=font)
    return sheet


def _font(text: str, size: int) -> tuple[ImageFont.FreeTypeFont, str]:
    file, drawable = font_for(text)
    return ImageFont.truetype(file, size), drawable


def at_most(image: Image.Image, side: int) -> Image.Image:
    """A copy of the image, scaled down if its longer side is above `side` px."""
    small = image.copy()
    small.thumbnail((side, side))
    return small
