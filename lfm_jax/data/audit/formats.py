"""How well an image's format alone tells real from fake: containers, JPEG quality, sizes, bytes, never a pixel.

In: the `Format` of each image and its label, or a Source. Out: what the formats of both labels are, and average
precisions (AP) of a classifier that sees nothing else. Where they are high, so may be a detector's that has learnt nothing.
"""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lfm_jax.data.audit.jpeg import quality_of, subsampling_of
from lfm_jax.data.images import ImageError, opened
from lfm_jax.data.sources.base import Source
from lfm_jax.runtime.progress import progress

FEATURES = ("container", "quality", "size", "bytes", "all")
FOLDS, LEAVES, MIN_LEAF = 5, 16, 5
MIN_PER_LABEL = 10  # with fewer, an AP says nothing
ENOUGH = 2000  # images, for luck to be small
STRONG, SOME = 0.8, 0.3  # of the way from chance to certainty
MOST_SHOWN = 8  # sizes of a label


@dataclass(frozen=True, slots=True)
class Format:
    """All that an image file says before its pixels. `quality` is None and `subsampling` "" where it is no JPEG."""

    container: str
    quality: int | None
    ijg: bool
    subsampling: str
    mode: str
    width: int
    height: int
    bytes: int

    @property
    def bytes_per_pixel(self) -> float:
        return self.bytes / (self.width * self.height)


def format_of(image: Image.Image, file_bytes: int) -> Format:
    """Opened image (nothing is decoded) and the size of its file -> Format."""
    quality, ijg = quality_of(image)
    return Format(image.format or "", quality, ijg, subsampling_of(image), image.mode, *image.size, file_bytes)


def audit(real: Sequence[Format], fake: Sequence[Format]) -> dict[str, Any]:
    """Formats of both labels -> "real" and "fake" (see `summary`), "chance", "luck", "ap" of each of FEATURES, "verdict".

    "chance" is the share of fakes, the AP of guesses in the long run, and "luck" what one guess in twenty exceeds with
    as few images as these. "luck" and "ap" are None where a label has fewer than MIN_PER_LABEL images.
    """
    enough = min(len(real), len(fake)) >= MIN_PER_LABEL
    ap = separation(real, fake) if enough else None
    luck = lucky_ap(len(real), len(fake)) if enough else None
    chance = len(fake) / max(1, len(real) + len(fake))
    return {
        "real": summary(real),
        "fake": summary(fake),
        "chance": chance,
        "luck": luck,
        "ap": ap,
        "verdict": verdict(ap, chance, luck) if ap and luck else f"too few images (under {MIN_PER_LABEL} of a label)",
    }


def audit_source(source: Source, *, threads: int = 8) -> list[dict[str, Any]]:
    """Labelled files -> rows: `level` generator | suite | overall, `suite`, `generator` and what `audit` says of them.

    The generators of a suite, and all suites, are pooled as generator "all" where there are several. Broken files are
    left out, and so are images that were drawn and never were files: of such alone there are no rows.
    """
    formats = _labelled(source, threads)
    groups = [("generator", *names, [names]) for names in formats]
    suites = list(dict.fromkeys(suite for suite, _ in formats))
    for suite in suites:
        members = [names for names in formats if names[0] == suite]
        groups += [("suite", suite, "all", members)] if len(members) > 1 else []
    groups += [("overall", "all", "all", list(formats))] if len(suites) > 1 else []
    rows = []
    for level, suite, generator, members in groups:
        real, fake = ([form for names in members for form in formats[names][label]] for label in (0, 1))
        rows.append({"level": level, "suite": suite, "generator": generator, **audit(real, fake)})
    return rows


def summary(formats: Sequence[Format]) -> dict[str, Any]:
    """Counts by value, most frequent first; pixels, aspect (width / height) and bytes_per_pixel as [least, median, most]."""
    sizes = Counter(f"{f.width}x{f.height}" for f in formats)
    shown = dict(sizes.most_common(MOST_SHOWN))
    return {
        "images": len(formats),
        "containers": _counts(f.container for f in formats),
        "quality": _counts("none" if f.quality is None else str(f.quality) for f in formats),
        "not_ijg": sum(f.quality is not None and not f.ijg for f in formats),
        "subsampling": _counts(f.subsampling or "none" for f in formats),
        "modes": _counts(f.mode for f in formats),
        "sizes": shown | ({"others": len(formats) - sum(shown.values())} if len(sizes) > MOST_SHOWN else {}),
        "pixels": _spread([f.width * f.height for f in formats]),
        "aspect": _spread([f.width / f.height for f in formats]),
        "bytes_per_pixel": _spread([f.bytes_per_pixel for f in formats]),
    }


def separation(real: Sequence[Format], fake: Sequence[Format]) -> dict[str, float]:
    """Formats of both labels -> AP of each of FEATURES, fakes being the positives.

    Each is that of a decision tree (scikit-learn; at most LEAVES leaves of at least MIN_LEAF images, classes weighted
    alike), cross-validated in FOLDS stratified folds: every image is scored by a tree that was fitted without it.
    "all" sees the other four, the colour mode and the subsampling. Seeded: the same images give the same figures.
    """
    from sklearn.metrics import average_precision_score  # here, as it takes seconds to load
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    labels = np.repeat([0, 1], [len(real), len(fake)])
    columns = _columns([*real, *fake])
    tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, min_samples_leaf=MIN_LEAF, class_weight="balanced", random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    found = {}
    for name in FEATURES:
        seen = np.column_stack(list(columns.values()) if name == "all" else [columns[name]])
        scores = cross_val_predict(tree, seen, labels, cv=folds, method="predict_proba")[:, 1]
        found[name] = float(average_precision_score(labels, scores))
    return found


def lucky_ap(real: int, fake: int) -> float:
    """Numbers of images -> the AP that 1 in 20 random orders of them exceeds; drawn with at most ENOUGH images."""
    share = min(1.0, ENOUGH / (real + fake))
    total, fakes = round((real + fake) * share), max(1, round(fake * share))
    ranks = np.sort(np.argsort(np.random.default_rng(0).random((400, total)), axis=1)[:, :fakes], axis=1) + 1
    return float(np.quantile((np.arange(1, fakes + 1) / ranks).mean(axis=1), 0.95))


def verdict(ap: dict[str, float], chance: float, luck: float) -> str:
    """What the APs mean, in words."""
    best = max(ap, key=lambda name: ap[name])
    single = max(FEATURES[:-1], key=lambda name: ap[name])
    share = (ap[best] - chance) / (1 - chance)
    if share < SOME or ap[best] < luck:
        return f"format is near chance (AP {ap[best]:.2f}, chance {chance:.2f})"
    most = f"{single} alone {ap[single]:.2f}"
    if share < STRONG:
        return f"format says something about the label (AP {ap[best]:.2f}, chance {chance:.2f}; {most})"
    return (
        f"format alone separates real from fake with AP {ap[best]:.2f} (chance {chance:.2f}; {most}): "
        "a detector can score here without looking at a pixel"
    )


def _labelled(source: Source, threads: int) -> dict[tuple[str, str], tuple[list[Format], list[Format]]]:
    """(suite, generator) -> formats of its reals and of its fakes."""

    def look(index: int) -> Format | None:
        try:
            data = source.encoded(index)
            if data is None:
                return None
            with opened(data) as image:
                return format_of(image, len(data))
        except ImageError:
            return None

    found: dict[tuple[str, str], tuple[list[Format], list[Format]]] = {}
    with ThreadPoolExecutor(threads) as pool:
        looked = progress(pool.map(look, range(len(source.examples))), total=len(source.examples), what="format audit")
        for example, form in zip(source.examples, looked, strict=True):
            if form and example.label is not None:
                found.setdefault((example.suite, example.generator), ([], []))[example.label].append(form)
    return found


def _columns(formats: Sequence[Format]) -> dict[str, np.ndarray]:
    """Feature -> [N, columns]; names as one column each, a JPEG quality that is not there as -1."""

    def one_hot(values: list[str]) -> np.ndarray:
        return np.array(values)[:, None] == np.unique(values)

    return {
        "container": one_hot([f.container for f in formats]),
        "quality": np.array([[-1 if f.quality is None else f.quality, f.ijg] for f in formats]),
        "size": np.array([[f.width, f.height, f.width * f.height, f.width / f.height] for f in formats]),
        "bytes": np.array([[f.bytes_per_pixel] for f in formats]),
        "mode": one_hot([f.mode for f in formats]),
        "subsampling": one_hot([f.subsampling for f in formats]),
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _spread(values: Sequence[float]) -> list[float] | None:
    return [min(values), statistics.median(values), max(values)] if values else None
