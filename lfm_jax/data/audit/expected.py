"""A data set's folders against what they should hold: both labels everywhere, and what is known of the field's suites.

In: a `Tree`. Out: findings, dicts of `kind`, `where` and `what`, in words for whoever has to mend them.
"""

from collections.abc import Iterator

from lfm_jax.data import suites
from lfm_jax.data.audit.tree import Place, Tree
from lfm_jax.data.sources.base import LABEL_FOLDERS

TEST_SPLITS = ("", "test")
Finding = dict[str, str]
Generators = dict[str, list[Place]]


def finding(kind: str, where: str, what: str) -> Finding:
    return {"kind": kind, "where": where, "what": what}


def by_suite(tree: Tree) -> dict[tuple[str, str], Generators]:
    """(split, suite) -> generator -> its places."""
    found: dict[tuple[str, str], Generators] = {}
    for place in tree.images:
        found.setdefault((place.split, place.suite), {}).setdefault(place.generator, []).append(place)
    return found


def compare(tree: Tree) -> Iterator[Finding]:
    """What is missing, and numbers of images that are not the known ones."""
    for place, labels in tree.images.items():
        for label in LABEL_FOLDERS:
            if not labels.get(label):
                yield finding(
                    "missing label", str(place), f"{label}/ has no image in it" if label in labels else f"there is no {label}/"
                )
    for (split, name), generators in by_suite(tree).items():
        suite = suites.find(name)
        if suite and split in suite.training:
            yield from _compare_training(tree, suite, Place(split, name, "", ""), generators)
        elif suite and split in TEST_SPLITS:
            yield from _compare_test(tree, suite, Place(split, name, "", ""), generators)


def known(tree: Tree) -> Iterator[Finding]:
    """What was found before in suites of these names, and what of them the published tables leave out."""
    for name in dict.fromkeys(place.suite for place in tree.images):
        if suite := suites.find(name):
            yield from (finding("known fault", name, fault) for fault in suite.faults)
        elif near := suites.nearest(name):
            yield finding("unknown suite", name, f"there is nothing to compare it with; if it is {near.name}, call it so")
    for (split, name), generators in by_suite(tree).items():
        suite = suites.find(name)
        if suite and split in TEST_SPLITS:
            for generator in [generator for generator in generators if generator not in suite.generators]:
                yield finding("not in the tables", f"{name}/{generator}", f"{suite.name}'s published means leave it out")


def _compare_training(tree: Tree, suite: suites.Suite, above: Place, generators: Generators) -> Iterator[Finding]:
    """Classes stand right below the split, or below their generator."""
    places = [place for group in generators.values() for place in group]
    for name in suite.training_classes:
        if not any(name in (place.generator, place.class_name) for place in places):
            yield finding("missing class", str(above), f"there is no {name}/, one of the classes that the field trains on")
    used = [place for place in places if {place.generator, place.class_name} & set(suite.training_classes)]
    yield from _compare_count(tree, above, used, suite.training[above.split])


def _compare_test(tree: Tree, suite: suites.Suite, above: Place, generators: Generators) -> Iterator[Finding]:
    for name in suite.generators:
        place = above._replace(generator=name)
        if name not in generators:
            yield finding(
                "missing generator", str(above), f"there is no {name}/, one of {suite.name}'s {len(suite.generators)} generators"
            )
            continue
        if name in suite.with_classes and place in generators[name]:
            yield finding("missing class", str(place), "its images lie in no class folders, as they do where it was published")
        if name in suite.counts:
            yield from _compare_count(tree, place, generators[name], suite.counts[name])


def _compare_count(tree: Tree, where: Place, places: list[Place], expected: suites.Counts) -> Iterator[Finding]:
    found = tuple(sum(len(tree.images[place].get(label, ())) for place in places) for label in LABEL_FOLDERS)
    if found != expected:
        yield finding("wrong count", str(where), f"{found[0]} real and {found[1]} fake, expected {expected[0]} and {expected[1]}")
