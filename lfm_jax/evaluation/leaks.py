"""Test images recognised as such, so that no threshold is fitted on them unnoticed."""

from collections.abc import Iterator
from pathlib import Path

from lfm_jax.data import suites
from lfm_jax.data.sources.folder import FileSource
from lfm_jax.data.sources.joined import JoinedSource
from lfm_jax.evaluation.saved import read_results


def leak(source: FileSource | JoinedSource) -> str | None:
    """Why images of `source` are test data, or None if nothing says so.

    Judged by the names of the folders that the files really lie in (links are followed), or of the prepared splits. The
    train and val splits of a known suite are not test data.
    """
    if isinstance(source, JoinedSource):
        return next(filter(None, map(_reason_of_split, source.parts)), None)
    root = source.root.absolute()
    folders = set[Path]()
    for example in source.examples:  # there may be millions, in few folders
        file = root / example.path
        folders |= {file.parent, file.resolve().parent}
    return next((reason for folder in sorted(folders) for reason in _reasons(folder)), None)


def _reasons(folder: Path) -> Iterator[str]:
    below = ""
    for part in (folder, *folder.parents):
        suite = suites.find(part.name)
        if suite and not (suite.training and below in ("train", "val")):
            yield f"{part} is {suite.name}, a test suite"
        if part.name.casefold() == "test" and any((part.parent / split).is_dir() for split in ("train", "val")):
            yield f"{part} is a test split"
        below = part.name.casefold()


def _reason_of_split(name: str) -> str | None:
    dataset, _, split = name.rpartition("/")
    suite = suites.find(dataset)
    if suite and not (suite.training and split != "test"):
        return f"{name} is {suite.name}, a test suite"
    return f"{name} is a test split" if split == "test" else None


def known_from_tests(weights: Path, data_sha256: str) -> str | None:
    """Why data with this hash is test data, according to the test results in a training workdir."""
    for path in sorted(weights.glob("test/*/results.json")):
        if read_results(path.parent).get("data_sha256") == data_sha256:
            return f"these images are what {path.parent} was tested on"
    return None
