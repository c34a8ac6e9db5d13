"""Explanations of many images as files: NAME.json and NAME.png for each, and one sheet of them all."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lfm_jax.data.images import ImageError
from lfm_jax.data.listing import list_images
from lfm_jax.errors import DataError, TooSmallError, UserError
from lfm_jax.inference.drawing import THUMBNAIL, thumbnail_sheet
from lfm_jax.inference.explanation import Explanation, explain_image
from lfm_jax.inference.network import Network
from lfm_jax.inference.records import valid_json
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.progress import progress, say

SHEET = "contact_sheet"
MAX_IN_SHEET = 500  # images
MAX_NAME_BYTES = 230  # of 255 that file systems take; leaves room for a suffix, and for what tells equal names apart


def explain_files(network: Network, paths: Sequence[str], out: Path, *, protocol: str, entries: bool) -> list[dict[str, Any]]:
    """Explains files, and all images below folders, in the folder `out`; several images also get a contact sheet.

    Args:
      entries: write every pooled value into the JSON as well.

    Returns:
      {path, error} for each image that could not be explained.

    Raises:
      DataError: no image files in `paths`.
      UserError: a picture would overwrite its own image, or the weights have no evidence to show.
    """
    targets = list(_targets(paths, out))
    if not targets:
        raise DataError(f"no image files in {', '.join(map(str, paths))}")
    for file, target in targets:
        if Path(f"{target}.png").exists() and file.exists() and Path(f"{target}.png").samefile(file):
            raise UserError(f"--out={out}: {target.name}.png would be written over the image itself; choose another folder")
    failed: list[dict[str, Any]] = []
    thumbnails: list[tuple[str, str, float, Image.Image]] = []
    for file, target in progress(targets, total=len(targets), what="explain"):
        try:
            explanation = explain_image(network, file, protocol=protocol)
        except (ImageError, TooSmallError) as error:
            failed.append({"path": str(file), "error": str(error)})
            continue
        facts = {"path": str(file), "weights_sha256": network.card.weights_sha256, **explanation.to_dict(entries=entries)}
        _write_pair(explanation, facts, target)
        if len(thumbnails) < MAX_IN_SHEET:
            answer, score = explanation.prediction.verdict, explanation.prediction.score
            thumbnails.append((str(target.relative_to(out)), answer, score, explanation.thumbnail(THUMBNAIL)))
    if len(targets) > 1 and thumbnails:
        thumbnail_sheet(thumbnails).save(out / f"{SHEET}.png")
        if len(targets) > MAX_IN_SHEET:
            say(f"{SHEET}.png holds the first {MAX_IN_SHEET} of {len(targets)} images")
    return failed


def _write_pair(explanation: Explanation, facts: dict[str, Any], target: Path) -> None:
    """Writes `target`.json and `target`.png."""
    target.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{target}.json").write_text(valid_json(json.dumps(facts, indent=1, ensure_ascii=False)), encoding="utf-8")
    Path(f"{target}.png").write_bytes(explanation.figure())


def _targets(paths: Sequence[str], out: Path) -> Iterator[tuple[Path, Path]]:
    """Yields each image file with the path of its outputs, less their suffixes. No two share a name."""
    used = {SHEET}
    for path in map(expanded, paths):
        for file in list_images(path) if path.is_dir() else [path]:
            place = file.relative_to(path) if path.is_dir() else Path(file.name)
            name = _short_enough(place.with_suffix(""))
            if name in used:
                name = _short_enough(place)
            while name in used:
                name += "_"
            used.add(name)
            yield file, out / name


def _short_enough(place: Path) -> str:
    """The path with a last name of at most MAX_NAME_BYTES; the end of a longer one is cut off."""
    name = os.fsencode(place.name)
    return str(place) if len(name) <= MAX_NAME_BYTES else str(place.with_name(name[:MAX_NAME_BYTES].decode(errors="ignore")))
