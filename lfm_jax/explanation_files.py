"""Explanations to look at and to keep: NAME.json and NAME.png for each image, and one sheet of all.

In: a Detector and paths. Out: files, and a record of each image that could not be explained. matplotlib without a display.
"""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lfm_jax.data.images import ImageError, list_images
from lfm_jax.detector import Detector
from lfm_jax.errors import DataError, TooSmallError, UserError
from lfm_jax.explain import FAKE, OUTLINED, REAL
from lfm_jax.explanation import Explanation, explain_image
from lfm_jax.progress import progress, say

SHEET = "contact_sheet"
THUMBNAIL, CAPTION, COLUMNS, MAX_IN_SHEET = 256, 34, 5, 500  # px, px, and images
RESIDUAL_GAIN = 8  # neighbouring pixels differ by a few levels of 255
SHOWN = 1600  # px of the longer side at most, of what is drawn


def explain_files(detector: Detector, paths: Sequence[str], out: Path, *, protocol: str, entries: bool) -> list[dict[str, Any]]:
    """Files, and folders searched through -> OUT/NAME.json and .png for each, and a contact sheet of several -> {path, error}s.

    Raises:
      UserError: a picture would be written over its own image, or the weights have no evidence to show.
    """
    targets = list(_targets(paths, out))
    if not targets:
        raise DataError(f"no image files in {', '.join(map(str, paths))}")
    for file, target in targets:
        if Path(f"{target}.png").exists() and file.exists() and Path(f"{target}.png").samefile(file):
            raise UserError(f"--out={out}: {target.name}.png would be written over the image itself; choose another folder")
    failed: list[dict[str, Any]] = []
    thumbnails: list[tuple[str, float, Image.Image]] = []
    for file, target in progress(targets, total=len(targets), what="explain"):
        try:
            explanation = explain_image(detector, file, protocol=protocol)
        except (ImageError, TooSmallError) as error:
            failed.append({"path": str(file), "error": str(error)})
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        facts = {"path": str(file), "weights_sha256": detector.card.weights_sha256, **explanation.to_dict(entries=entries)}
        Path(f"{target}.json").write_text(
            json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8", errors="surrogateescape"
        )
        overlay = explanation.overlay()
        Path(f"{target}.png").write_bytes(picture(explanation, overlay))
        if len(thumbnails) < MAX_IN_SHEET:
            thumbnails.append((str(target.relative_to(out)), explanation.prediction.score, _at_most(overlay, THUMBNAIL)))
    if len(targets) > 1 and thumbnails:
        contact_sheet(thumbnails).save(out / f"{SHEET}.png")
        if len(targets) > MAX_IN_SHEET:
            say(f"{SHEET}.png holds the first {MAX_IN_SHEET} of {len(targets)} images")
    return failed


def picture(explanation: Explanation, overlay: Image.Image) -> bytes:
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
        axes.imshow(_at_most(image, SHOWN))
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


def _targets(paths: Sequence[str], out: Path) -> Iterator[tuple[Path, Path]]:
    """-> image file, and where its files go without their suffixes; a name is used once."""
    used = {SHEET}
    for path in map(Path, paths):
        for file in list_images(path) if path.is_dir() else [path]:
            place = file.relative_to(path) if path.is_dir() else Path(file.name)
            name = str(place.with_suffix(""))
            if name in used:
                name = str(place)
            while name in used:
                name += "_"
            used.add(name)
            yield file, out / name


def _at_most(image: Image.Image, side: int) -> Image.Image:
    small = image.copy()
    small.thumbnail((side, side))
    return small
