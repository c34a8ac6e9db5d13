"""`lfm data check`: is a data set whole, readable, free of duplicates and leaks, and does its format give it away?

In: a folder. Out: a report, a dict that is JSON as it stands (its keys: docs/data_check.md). Every file is read
once; what is kept of it is two hashes and its format.
"""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfm_jax.data import suites
from lfm_jax.data.audit.expected import TEST_SPLITS, by_suite, compare, finding, known
from lfm_jax.data.audit.formats import Format, audit, format_of
from lfm_jax.data.audit.tree import Place, Tree, read_tree
from lfm_jax.data.images import ImageError, opened, read
from lfm_jax.data.sources.base import LABEL_FOLDERS
from lfm_jax.runtime.progress import progress

REAL, FAKE = LABEL_FOLDERS
HARMFUL = ("real and fake", "leak")  # kinds of duplicates
IN_FLIGHT = 1024  # files handed to the threads at once


@dataclass(frozen=True, slots=True)
class Examined:
    """One image file: sha256 of its bytes, a hash of its size and RGB pixels, its format; or the reason it has none."""

    path: str
    place: Place
    label: str
    sha256: bytes = b""
    pixels: bytes = b""
    format: Format | None = None
    error: str = ""


def check(root: str | os.PathLike[str], *, threads: int = 8) -> dict[str, Any]:
    """Folder -> report. Raises DataError: there is nothing to check in it."""
    tree = read_tree(root)
    images = list(_examine_all(tree, threads))
    duplicates = find_duplicates(images)
    problems = list(compare(tree))
    problems += [finding("unreadable folder", path, "cannot be listed") for path in tree.unreadable]
    problems += [finding("unreadable file", image.path, image.error) for image in images if image.error]
    repeats = [(kind, group) for group in duplicates for kind in group["kinds"]]
    problems += [_duplicate(kind, group) for kind, group in repeats if kind in HARMFUL]
    notes = [_duplicate(kind, group) for kind, group in repeats if kind not in HARMFUL]
    notes += [finding("no image by its suffix", path, "not read") for path in tree.not_images]
    notes += [finding("outside of the label folders", path, "not read") for path in tree.outside]
    return {
        "root": str(root),
        "images": len(images),
        "clean": not problems,
        "groups": _groups(tree),
        "problems": problems,
        "notes": [*notes, *known(tree)],
        "duplicates": duplicates,
        "format": _format_rows(tree, images),
    }


def examine(root: Path, path: str, place: Place, label: str) -> Examined:
    """One file, read once: hashed, its header read, decoded."""
    try:
        data = read(root / path)
        with opened(data) as image:
            form = format_of(image, len(data))
            rgb = image.convert("RGB")
    except ImageError as error:
        return Examined(path, place, label, error=str(error))
    pixels = hashlib.blake2b(repr(rgb.size).encode() + rgb.tobytes(), digest_size=16).digest()
    return Examined(path, place, label, hashlib.sha256(data).digest(), pixels, form)


def find_duplicates(images: Iterable[Examined]) -> list[dict[str, Any]]:
    """Groups of files that show the same pixels: `kinds`, `same` ("bytes" if all are equal, else "pixels"), `files`.

    Kinds: "real and fake" of both labels; "leak" in more than one split; else "repeated" within a generator, or
    "shared" between generators, as suites share their real images.
    """
    by_pixels: dict[bytes, list[Examined]] = {}
    for image in images:
        if not image.error:
            by_pixels.setdefault(image.pixels, []).append(image)
    groups = []
    for same in by_pixels.values():
        if len(same) < 2:
            continue
        kinds = ["real and fake"] if len({image.label for image in same}) > 1 else []
        kinds += ["leak"] if len({image.place.split for image in same}) > 1 else []
        generators = {image.place[:3] for image in same}
        files = [{"path": image.path, "sha256": image.sha256.hex()} for image in same]
        groups.append(
            {
                "kinds": kinds or ["shared" if len(generators) == len(same) else "repeated"],
                "same": "bytes" if len({image.sha256 for image in same}) == 1 else "pixels",
                "files": files,
            }
        )
    return groups


def _examine_all(tree: Tree, threads: int) -> Iterator[Examined]:
    listed = [(path, place, label) for place, labels in tree.images.items() for label, paths in labels.items() for path in paths]

    def run() -> Iterator[Examined]:
        with ThreadPoolExecutor(threads) as pool:
            for start in range(0, len(listed), IN_FLIGHT):
                yield from pool.map(lambda item: examine(tree.root, *item), listed[start : start + IN_FLIGHT])

    return progress(run(), total=len(listed), what="check")


def _groups(tree: Tree) -> list[dict[str, Any]]:
    rows = []
    for place, labels in tree.images.items():
        suite = suites.find(place.suite)
        whole = suite and place.split in TEST_SPLITS and not place.class_name
        expected = suite.counts.get(place.generator) if suite and whole else None
        counts = {"real": len(labels.get(REAL, ())), "fake": len(labels.get(FAKE, ()))}
        rows.append({**_named(place), **counts, "expected": list(expected) if expected else None})
    return rows


def _format_rows(tree: Tree, images: Sequence[Examined]) -> list[dict[str, Any]]:
    """Suites of several generators pooled, generators, and the classes of those that have several."""
    formats: dict[Place, dict[str, list[Format]]] = {place: {label: [] for label in LABEL_FOLDERS} for place in tree.images}
    for image in images:
        if image.format:
            formats[image.place][image.label].append(image.format)
    groups: list[tuple[Place, list[Place]]] = []
    for (split, suite), generators in by_suite(tree).items():
        if len(generators) > 1:
            groups.append((Place(split, suite, "", ""), [place for places in generators.values() for place in places]))
        for generator, places in generators.items():
            groups.append((Place(split, suite, generator, ""), places))
            groups += [(place, [place]) for place in places if len(places) > 1]

    def row(name: Place, places: list[Place]) -> dict[str, Any]:
        real, fake = ([form for place in places for form in formats[place][label]] for label in LABEL_FOLDERS)
        return {**_named(name), **audit(real, fake)}

    return [row(*group) for group in progress(groups, total=len(groups), what="format audit", unit="group")]


def _named(place: Place) -> dict[str, str]:
    return {"split": place.split, "suite": place.suite, "generator": place.generator, "class": place.class_name}


def _duplicate(kind: str, group: dict[str, Any]) -> dict[str, str]:
    first, *others = (entry["path"] for entry in group["files"])
    return finding(kind, first, f"same {group['same']} as {', '.join(itertools.islice(others, 4))}{', ...' * (len(others) > 4)}")
