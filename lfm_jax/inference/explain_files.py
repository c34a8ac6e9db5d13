"""Explanations to look at and to keep: NAME.json and NAME.png for each image, and one sheet of all.

In: a Network and paths. Out: files, and a record of each image that could not be explained.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lfm_jax.data.images import ImageError, list_images
from lfm_jax.errors import DataError, TooSmallError, UserError
from lfm_jax.inference.explanation import explain_image
from lfm_jax.inference.network import Network
from lfm_jax.inference.picture import THUMBNAIL, at_most, contact_sheet, picture
from lfm_jax.runtime.progress import progress, say

SHEET = "contact_sheet"
MAX_IN_SHEET = 500  # images


def explain_files(network: Network, paths: Sequence[str], out: Path, *, protocol: str, entries: bool) -> list[dict[str, Any]]:
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
            explanation = explain_image(network, file, protocol=protocol)
        except (ImageError, TooSmallError) as error:
            failed.append({"path": str(file), "error": str(error)})
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        facts = {"path": str(file), "weights_sha256": network.card.weights_sha256, **explanation.to_dict(entries=entries)}
        Path(f"{target}.json").write_text(
            json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8", errors="surrogateescape"
        )
        overlay = explanation.overlay()
        Path(f"{target}.png").write_bytes(picture(explanation, overlay))
        if len(thumbnails) < MAX_IN_SHEET:
            thumbnails.append((str(target.relative_to(out)), explanation.prediction.score, at_most(overlay, THUMBNAIL)))
    if len(targets) > 1 and thumbnails:
        contact_sheet(thumbnails).save(out / f"{SHEET}.png")
        if len(targets) > MAX_IN_SHEET:
            say(f"{SHEET}.png holds the first {MAX_IN_SHEET} of {len(targets)} images")
    return failed


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
