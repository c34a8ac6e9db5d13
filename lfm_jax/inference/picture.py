"""Evidence drawn: on the image it came from, beside its residual, and many images on one sheet. matplotlib without a display."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lfm_jax.data.protocols import Box
from lfm_jax.inference.evidence import apart, middle, window
from lfm_jax.models import Lfm
from lfm_jax.runtime.palette import FAKE, REAL

if TYPE_CHECKING:
    from lfm_jax.inference.explanation import Explanation

STRONGEST = 0.85  # opacity of an image's strongest position
OUTLINED = 5  # windows
THUMBNAIL, CAPTION, COLUMNS = 256, 34, 5  # px, px, and images
RESIDUAL_GAIN = 8  # neighbouring pixels differ by a few levels of 255
SHOWN = 1600  # px of the longer side at most, of what is drawn


def overlay(model: Lfm, pixels: np.ndarray, added: np.ndarray) -> Image.Image:
    """pixels uint8 [H, W, 3] and their evidence -> the image in grey, red where it speaks for fake, blue for real.

    A position is painted on the middle of the window that it sees, its opacity the square root of its share of the
    image's strongest, as most are far weaker. The windows of the strongest are framed, at most OUTLINED.
    """
    heat = np.zeros(pixels.shape[:2], np.float32)
    for place in zip(*np.nonzero(added), strict=True):
        x0, y0, x1, y1 = middle(model, place, pixels)
        heat[y0:y1, x0:x1] = added[place]
    ranked = (divmod(int(place), added.shape[1]) for place in np.argsort(-np.abs(added), axis=None))
    windows = ((window(model, place, pixels), float(added[place])) for place in ranked if added[place] != 0)
    return paint(pixels, heat, apart(windows, OUTLINED, box=lambda each: each[0]))


def paint(pixels: np.ndarray, heat: np.ndarray, frames: Sequence[tuple[Box, float]]) -> Image.Image:
    """pixels uint8 [H, W, 3], evidence float32 [H, W], windows with theirs -> the picture that `overlay` describes."""
    grey = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None].repeat(3, 2)
    painted = heat[..., None]
    opacity = STRONGEST * np.sqrt(np.abs(painted) / max(float(np.abs(heat).max()), np.finfo(np.float32).tiny))
    colour = np.where(painted > 0, *np.array([FAKE, REAL], np.float32))
    image = Image.fromarray(np.round(grey * (1 - opacity) + colour * opacity).astype(np.uint8))
    draw, thick = ImageDraw.Draw(image), max(1, max(image.size) // 128)
    for (x0, y0, x1, y1), weight in frames:
        for out, line in ((thick, FAKE if weight > 0 else REAL), (2 * thick, (255, 255, 255))):
            draw.rectangle((x0 - out, y0 - out, x1 - 1 + out, y1 - 1 + out), outline=line, width=thick)
    return image


def picture(explanation: "Explanation", overlay: Image.Image) -> bytes:
    """An explanation and its overlay -> PNG: image, evidence with a scale, NPR residual, and the strongest windows enlarged."""
    from matplotlib.cm import ScalarMappable  # here, as it takes a second to load
    from matplotlib.colors import FuncNorm, LinearSegmentedColormap
    from matplotlib.figure import Figure

    prediction, strongest = explanation.prediction, explanation.strongest(OUTLINED)
    figure = Figure(figsize=(13, 7.4), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(2.6, 1))[:, 0]
    panels = above.subplots(1, 3)
    shown = [explanation.image, overlay, residual(explanation.image)]
    titles = ["image", "evidence: red for fake, blue for real", f"NPR residual, {RESIDUAL_GAIN} times"]
    for axes, image, title in zip(panels, shown, titles, strict=True):
        axes.imshow(at_most(image, SHOWN))
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    colours = LinearSegmentedColormap.from_list("evidence", [np.array(each) / 255 for each in (REAL, (255, 255, 255), FAKE)])
    largest = float(np.abs(explanation.heat).max()) or 1.0
    # Colours go with the root, as the picture's opacity does.
    root = FuncNorm((lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda y: np.sign(y) * y**2), vmin=-largest, vmax=largest)
    bar = above.colorbar(ScalarMappable(root, colours), ax=panels[1], location="bottom", fraction=0.05, pad=0.02)
    bar.set_ticks([-largest, -largest / 4, 0, largest / 4, largest])
    bar.set_label("added to the logit by a position of the map", fontsize=8)
    for axes, place in zip(
        below.subplots(1, OUTLINED, squeeze=False)[0], strongest + [None] * (OUTLINED - len(strongest)), strict=True
    ):
        axes.set_axis_off()
        if place is not None:
            axes.imshow(explanation.image.crop(place.box), interpolation="nearest")
            towards = "fake" if place.evidence > 0 else "real"
            axes.set_title(f"{place.evidence:+.3f} {towards}, x {place.box[0]} y {place.box[1]}", fontsize=9)
    rest = sum(each.evidence for each in explanation.locations)
    figure.suptitle(
        f"{prediction.label}, score {prediction.score:.3f} (threshold {prediction.threshold:.3g}), {prediction.protocol}: "
        f"logit {prediction.logit:.3f} = bias {explanation.bias:.3f} and {rest:+.3f} from {len(explanation.locations)} positions",
        fontsize=11,
    )
    file = io.BytesIO()
    figure.savefig(file, dpi=110)
    return file.getvalue()


def residual(image: Image.Image) -> Image.Image:
    """RGB image -> how far each pixel is from the top-left one of its 2 x 2 block, times RESIDUAL_GAIN.

    As `ops.npr.npr_residual`, in numpy: jax would compile it for every size in a folder.
    """
    pixels = np.asarray(image).astype(np.int16)
    pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    away = np.abs(pixels - pixels[::2, ::2].repeat(2, 0).repeat(2, 1))
    return Image.fromarray((away * RESIDUAL_GAIN).clip(0, 255).astype(np.uint8))


def contact_sheet(thumbnails: Sequence[tuple[str, float, Image.Image]]) -> Image.Image:
    """(name, score, picture) -> one picture of all, row by row in their order."""
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
    small = image.copy()
    small.thumbnail((side, side))
    return small
