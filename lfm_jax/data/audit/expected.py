"""A data set's folders compared with what they should hold: both labels everywhere, and what was published of known suites.

Findings are dicts of `kind`, `where` and `what`, in words for the person who has to fix it.
"""

from collections.abc import Iterator

from lfm_jax.data import suites
from lfm_jax.data.audit.tree import Place, Tree
from lfm_jax.data.sources.base import LABEL_FOLDERS, names_of

TEST_SPLITS = ("", "test")
Finding = dict[str, str]
Generators = dict[str, list[Place]]


def make_finding(kind: str, where: str, what: str) -> Finding:
    return {"kind": kind, "where": where, "what": what}


def by_suite(tree: Tree) -> dict[tuple[str, str], Generators]:
    """The places of a tree by (split, suite) and then by generator."""
    suite_places: dict[tuple[str, str], Generators] = {}
    for place in tree.images:
        suite_places.setdefault((place.split, place.suite), {}).setdefault(place.generator, []).append(place)
    return suite_places


def deviations(tree: Tree) -> Iterator[Finding]:
    """Labels, generators and classes that are missing, and numbers of images that differ from the published ones."""
    for place, labels in tree.images.items():
        for label in LABEL_FOLDERS:
            if not labels.get(label):
                name = names_of(tree.labels, LABEL_FOLDERS[label])
                what = f"{name} has no image in it" if label in labels else f"there is no {name}"
                yield make_finding("missing label", str(place), what)
    for (split, name), generators in by_suite(tree).items():
        suite = suites.find(name)
        if suite and split in suite.training:
            yield from _training_deviations(tree, suite, Place(split, name, "", ""), generators)
        elif suite and split in TEST_SPLITS:
            yield from _test_deviations(tree, suite, Place(split, name, "", ""), generators)


def known_faults(tree: Tree) -> Iterator[Finding]:
    """What others ran into with suites of these names, and which generators the published tables leave out."""
    for name in dict.fromkeys(place.suite for place in tree.images):
        if suite := suites.find(name):
            yield from (make_finding("known fault", name, fault) for fault in suite.faults)
        elif near := suites.nearest(name):
            yield make_finding(
                "unknown suite", name, f"nothing to compare it with; if it is {near.name}, rename the folder to that"
            )
    for (split, name), generators in by_suite(tree).items():
        suite = suites.find(name)
        if suite and split in TEST_SPLITS:
            for generator in [generator for generator in generators if generator not in suite.generators]:
                yield make_finding("not in the tables", f"{name}/{generator}", f"{suite.name}'s published means leave it out")


def _training_deviations(tree: Tree, suite: suites.Suite, above: Place, generators: Generators) -> Iterator[Finding]:
    """Classes may lie right below the split, or below their generator."""
    places = [place for group in generators.values() for place in group]
    for name in suite.training_classes:
        if not any(name in (place.generator, place.class_name) for place in places):
            yield make_finding("missing class", str(above), f"there is no {name}/, one of the classes that the field trains on")
    used = [place for place in places if {place.generator, place.class_name} & set(suite.training_classes)]
    yield from _count_deviation(tree, above, used, suite.training[above.split])


def _test_deviations(tree: Tree, suite: suites.Suite, above: Place, generators: Generators) -> Iterator[Finding]:
    for name in suite.generators:
        place = above._replace(generator=name)
        if name not in generators:
            what = f"there is no {name}/, one of {suite.name}'s {len(suite.generators)} generators"
            yield make_finding("missing generator", str(above), what)
            continue
        if name in suite.with_classes and place in generators[name]:
            yield make_finding("missing class", str(place), "its images are not in class folders, as they are in the published set")
        if name in suite.counts:
            yield from _count_deviation(tree, place, generators[name], suite.counts[name])


def _count_deviation(tree: Tree, where: Place, places: list[Place], expected: suites.Counts) -> Iterator[Finding]:
    real, fake = (sum(len(tree.images[place].get(label, ())) for place in places) for label in LABEL_FOLDERS)
    if (real, fake) != expected:
        what = f"{real} real and {fake} fake, expected {expected[0]} and {expected[1]}"
        yield make_finding("wrong count", str(where), what)
