"""How well the format of an image alone tells real from fake: container, JPEG quality, size and bytes, but no pixel.

For both labels: what formats there are, and the average precision (AP) of a classifier that sees nothing else. Where
that is high, a detector can score well without having learnt anything about the images.
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
MIN_PER_LABEL = 10  # images; with fewer, an AP says nothing
LUCK_SAMPLE = 2000  # images; with more, luck hardly shrinks any further
STRONG, SOME = 0.8, 0.3  # of the way from chance to certainty
NAMED_SIZES = 8  # of a label; the others are counted together


@dataclass(frozen=True, slots=True)
class Format:
    """What an image file says before its pixels.

    Attributes:
      container: PNG, JPEG and so on, by content.
      quality: of a JPEG, 1..100 (see jpeg.py), otherwise None.
      ijg: whether the tables of a JPEG are exactly IJG's.
      subsampling: of the chroma of a JPEG, otherwise "".
      mode: by PIL's name for it.
      width, height: in pixels.
      bytes: of the file.
    """

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
    """The format of an opened image, from its header alone, and of the size of its file."""
    quality, ijg = quality_of(image)
    return Format(image.format or "", quality, ijg, subsampling_of(image), image.mode, *image.size, file_bytes)


def audit_formats(real: Sequence[Format], fake: Sequence[Format]) -> dict[str, Any]:
    """Compares the formats of both labels.

    Returns:
      "real", "fake": what formats there are, see `summary`.
      "chance": the share of fakes, which is the AP of guessing in the long run.
      "luck": the AP that one guess in twenty exceeds with as few images as these.
      "ap": the AP for each of FEATURES.
      "verdict": what the APs mean, in words.

    "luck" and "ap" are None if a label has fewer than MIN_PER_LABEL images.
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
        "verdict": verdict(ap, chance, luck) if ap and luck else f"too few images (under {MIN_PER_LABEL} with one of the labels)",
    }


def audit_source(source: Source, *, threads: int = 8) -> list[dict[str, Any]]:
    """Audits every generator of a source, every suite of several generators, and all suites together.

    Broken files are left out, and so are images that never were files: a source of only those has no rows.

    Returns:
      Rows with `level` (generator, suite or overall), `suite`, `generator` ("all" where several are pooled) and what
      `audit_formats` says.
    """
    formats = _formats_by_generator(source, threads)
    groups = [("generator", *names, [names]) for names in formats]
    suites = list(dict.fromkeys(suite for suite, _ in formats))
    for suite in suites:
        members = [names for names in formats if names[0] == suite]
        groups += [("suite", suite, "all", members)] if len(members) > 1 else []
    groups += [("overall", "all", "all", list(formats))] if len(suites) > 1 else []
    rows = []
    for level, suite, generator, members in groups:
        real, fake = ([form for names in members for form in formats[names][label]] for label in (0, 1))
        rows.append({"level": level, "suite": suite, "generator": generator, **audit_formats(real, fake)})
    return rows


def summary(formats: Sequence[Format]) -> dict[str, Any]:
    """Counts by value, most frequent first; pixels, aspect (width / height) and bytes_per_pixel as [min, median, max]."""
    sizes = Counter(f"{f.width}x{f.height}" for f in formats)
    frequent = dict(sizes.most_common(NAMED_SIZES))
    return {
        "images": len(formats),
        "containers": _counts(f.container for f in formats),
        "quality": _counts("none" if f.quality is None else str(f.quality) for f in formats),
        "not_ijg": sum(f.quality is not None and not f.ijg for f in formats),
        "subsampling": _counts(f.subsampling or "none" for f in formats),
        "modes": _counts(f.mode for f in formats),
        "sizes": frequent | ({"others": len(formats) - sum(frequent.values())} if len(sizes) > NAMED_SIZES else {}),
        "pixels": _min_median_max([f.width * f.height for f in formats]),
        "aspect": _min_median_max([f.width / f.height for f in formats]),
        "bytes_per_pixel": _min_median_max([f.bytes_per_pixel for f in formats]),
    }


def separation(real: Sequence[Format], fake: Sequence[Format]) -> dict[str, float]:
    """The AP of telling the labels apart by each of FEATURES, with fakes as the positives.

    The classifier is scikit-learn's decision tree (at most LEAVES leaves of at least MIN_LEAF images, both labels
    weighted the same), cross-validated in FOLDS stratified folds: every image is scored by a tree fitted without it.
    "all" sees the other four features, the colour mode and the subsampling. Seeded, so the same images give the same
    figures.
    """
    from sklearn.metrics import average_precision_score  # here, as it takes seconds to load
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    labels = np.repeat([0, 1], [len(real), len(fake)])
    columns = _columns([*real, *fake])
    tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, min_samples_leaf=MIN_LEAF, class_weight="balanced", random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    ap = {}
    for name in FEATURES:
        inputs = np.column_stack(list(columns.values()) if name == "all" else [columns[name]])
        scores = cross_val_predict(tree, inputs, labels, cv=folds, method="predict_proba")[:, 1]
        ap[name] = float(average_precision_score(labels, scores))
    return ap


def lucky_ap(real: int, fake: int) -> float:
    """The AP that 1 in 20 random orders of so many images exceeds, drawn with at most LUCK_SAMPLE of them."""
    share = min(1.0, LUCK_SAMPLE / (real + fake))
    total, fakes = round((real + fake) * share), max(1, round(fake * share))
    ranks = np.sort(np.argsort(np.random.default_rng(0).random((400, total)), axis=1)[:, :fakes], axis=1) + 1
    return float(np.quantile((np.arange(1, fakes + 1) / ranks).mean(axis=1), 0.95))


def verdict(ap: dict[str, float], chance: float, luck: float) -> str:
    """Says what the APs mean."""
    best = max(ap, key=lambda name: ap[name])
    single = max(FEATURES[:-1], key=lambda name: ap[name])
    share = (ap[best] - chance) / (1 - chance)
    if share < SOME or ap[best] < luck:
        return f"format is near chance (AP {ap[best]:.2f}, chance {chance:.2f})"
    by_single = f"{single} alone {ap[single]:.2f}"
    if share < STRONG:
        return f"format says something about the label (AP {ap[best]:.2f}, chance {chance:.2f}; {by_single})"
    return (
        f"format alone separates real from fake with AP {ap[best]:.2f} (chance {chance:.2f}; {by_single}): "
        "a detector can score well here without looking at a pixel"
    )


def _formats_by_generator(source: Source, threads: int) -> dict[tuple[str, str], tuple[list[Format], list[Format]]]:
    """The formats of the real and of the fake images of each (suite, generator)."""

    def read_format(index: int) -> Format | None:
        try:
            data = source.encoded(index)
            if data is None:
                return None
            with opened(data) as image:
                return format_of(image, len(data))
        except ImageError:
            return None

    by_generator: dict[tuple[str, str], tuple[list[Format], list[Format]]] = {}
    with ThreadPoolExecutor(threads) as pool:
        formats = pool.map(read_format, range(len(source.examples)))
        shown = progress(formats, total=len(source.examples), what="format audit")
        for example, form in zip(source.examples, shown, strict=True):
            if form and example.label is not None:
                by_generator.setdefault((example.suite, example.generator), ([], []))[example.label].append(form)
    return by_generator


def _columns(formats: Sequence[Format]) -> dict[str, np.ndarray]:
    """The classifier's inputs for each feature, [N, columns]: one column per name, and -1 for a quality that is missing."""

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


def _min_median_max(values: Sequence[float]) -> list[float] | None:
    return [min(values), statistics.median(values), max(values)] if values else None
