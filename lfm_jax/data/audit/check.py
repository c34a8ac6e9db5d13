"""`lfm data check`: is a data set complete, readable, free of duplicates and leaks, and does its format give it away?

The report is a dict that can be written as JSON; its keys are in docs/data_check.md. Every file is read once. What is
kept of it is two hashes and its format.
"""

import os
from pathlib import Path
from typing import Any

from lfm_jax.data import suites
from lfm_jax.data.audit import examination
from lfm_jax.data.audit.duplicates import HARMFUL
from lfm_jax.data.audit.examination import Examination, examine_here, examine_on_beam
from lfm_jax.data.audit.expected import TEST_SPLITS, Finding, by_suite, deviations, known_faults, make_finding
from lfm_jax.data.audit.formats import audit_formats
from lfm_jax.data.audit.tree import Place, Tree, read_tree
from lfm_jax.data.prepare.beam import Beam
from lfm_jax.data.sources.base import LABEL_FOLDERS, Labels
from lfm_jax.runtime.progress import progress

REAL, FAKE = LABEL_FOLDERS
NAMED_COPIES = 4  # of a picture, in a finding; all are in `duplicates`


def check_folder(
    root: str | os.PathLike[str],
    *,
    threads: int = 8,
    labels: Labels = LABEL_FOLDERS,
    beam: Beam | None = None,
    shared: Path | None = None,
) -> dict[str, Any]:
    """Checks the labelled images of a folder and returns the report; `labels` are the names of its label folders.

    Args:
      beam: hands the reading to Apache Beam, whose workers have to see the folder; the report is the same.
      shared: an empty folder that its workers see too.

    Raises:
      DataError: there is nothing to check.
      UserError: Beam failed.
    """
    tree = read_tree(root, labels)
    examined = examine_on_beam(tree, beam, shared) if beam and shared else examine_here(tree, threads)
    copies = [(kind, group) for group in examined.duplicates for kind in group["kinds"]]
    problems = [
        *deviations(tree),
        *(make_finding("unreadable folder", path, "cannot be listed") for path in tree.unreadable),
        *(make_finding("misspelt label", path, f"not read, did you mean {label}/?") for path, label in tree.misspelt),
        *(make_finding("both labels", path, "lies in a folder of the other label") for path in tree.both_labels),
        *(make_finding("unreadable file", path, error) for path, error in examined.unreadable),
        *(make_finding("more than 8 bits", path, f"mode {mode}, scaled to 8 bits when read") for path, mode in examined.deep),
        *(_duplicate_finding(kind, group) for kind, group in copies if kind in HARMFUL),
    ]
    notes = [
        *(_duplicate_finding(kind, group) for kind, group in copies if kind not in HARMFUL),
        *(make_finding("other file", path, f"not read: {kind}") for path, kind in tree.not_images),
        *(make_finding("hidden", str(root), f"not read: {count} {kind}") for kind, count in tree.hidden.items()),
        *(make_finding("outside of the label folders", path, "not read") for path in tree.outside),
        *known_faults(tree),
    ]
    return {
        "root": str(root),
        "images": examined.images,
        "clean": not problems,
        "groups": _group_rows(tree),
        "problems": problems,
        "notes": notes,
        "duplicates": examined.duplicates,
        "format": _format_rows(tree, examined),
    }


def _group_rows(tree: Tree) -> list[dict[str, Any]]:
    """The number of real and fake images in each place, with the published numbers where they are known."""
    rows = []
    for place, labels in tree.images.items():
        suite = suites.find(place.suite)
        is_whole = suite and place.split in TEST_SPLITS and not place.class_name
        expected = suite.counts.get(place.generator) if suite and is_whole else None
        counts = {"real": len(labels.get(REAL, ())), "fake": len(labels.get(FAKE, ()))}
        rows.append({**_place_fields(place), **counts, "expected": list(expected) if expected else None})
    return rows


def _format_rows(tree: Tree, examined: Examination) -> list[dict[str, Any]]:
    """The format audit of suites with several generators, of generators, and of the classes of those that have several."""
    groups: list[tuple[Place, list[Place]]] = []
    for (split, suite), generators in by_suite(tree).items():
        if len(generators) > 1:
            groups.append((Place(split, suite, "", ""), [place for places in generators.values() for place in places]))
        for generator, places in generators.items():
            groups.append((Place(split, suite, generator, ""), places))
            groups += [(place, [place]) for place in places if len(places) > 1]

    def row(group: Place, places: list[Place]) -> dict[str, Any]:
        real, fake = ([form for place in places for form in examined.formats.get((place, label), ())] for label in LABEL_FOLDERS)
        files = [[len(tree.images[place].get(label, ())) for place in places] for label in LABEL_FOLDERS]
        sampled = {"of": list(map(sum, files))} if max(map(max, files)) > examination.AUDITED else {}
        return {**_place_fields(group), **audit_formats(real, fake), **sampled}

    return [row(*group) for group in progress(groups, total=len(groups), what="format audit", unit="group")]


def _place_fields(place: Place) -> dict[str, str]:
    return {"split": place.split, "suite": place.suite, "generator": place.generator, "class": place.class_name}


def _duplicate_finding(kind: str, group: dict[str, Any]) -> Finding:
    first, *copies = (file["path"] for file in group["files"])
    more = ", ..." * (len(copies) > NAMED_COPIES)
    return make_finding(kind, first, f"same {group['same']} as {', '.join(copies[:NAMED_COPIES])}{more}")
