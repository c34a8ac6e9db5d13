"""Pictures for people who would rather look than read. matplotlib without a display; files out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lfm_jax.card import Card
from lfm_jax.data.sources import Source

MAX_ROWS = 8  # generators in one picture
PER_LABEL = 4
RIGHT, WRONG = "#1a7f37", "#cf222e"


def examples(predictions: Sequence[dict[str, Any]], source: Source, card: Card, path: Path) -> None:
    """A row of real and fake images of each generator with their scores, wrong calls in red -> PNG.

    Within a generator the images are those at even ranks of the score, so that the worst calls show too.
    """
    import matplotlib  # here, as it takes a second to load
    from matplotlib.figure import Figure

    first = [p for p in predictions if all(p[name] == predictions[0][name] for name in ("protocol", "view", "weights"))]
    generators = list(dict.fromkeys((p["suite"], p["generator"]) for p in first))[:MAX_ROWS]
    index_of = {example.path: index for index, example in enumerate(source.examples)}
    figure = Figure(figsize=(2 * PER_LABEL * 1.6 + 1.2, 2.0 * len(generators) + 0.6), layout="constrained")
    grid = figure.subplots(len(generators), 2 * PER_LABEL, squeeze=False)
    for axes_row, (suite, generator) in zip(grid, generators, strict=True):
        group = [p for p in first if (p["suite"], p["generator"]) == (suite, generator)]
        for label in (0, 1):
            shown = _spread([p for p in group if p["label"] == label], PER_LABEL)
            for column in range(PER_LABEL):
                axes = axes_row[label * PER_LABEL + column]
                axes.set_axis_off()
                if column < len(shown):
                    _show(axes, shown[column], source, index_of, card)
        axes_row[0].text(-0.08, 0.5, generator, rotation=90, ha="right", va="center", transform=axes_row[0].transAxes)
    figure.suptitle(f"real (left) and fake (right), scores under {first[0]['protocol']}; red: called wrong", fontsize=10)
    with matplotlib.rc_context({"savefig.dpi": 110}):
        figure.savefig(path)


def _show(axes: Any, prediction: dict[str, Any], source: Source, index_of: dict[str, int], card: Card) -> None:
    axes.imshow(source.image(index_of[prediction["path"]]))
    right = card.is_fake(prediction["logit"]) == bool(prediction["label"])
    title = f"{'fake' if prediction['label'] else 'real'}  {prediction['score']:.3f}"
    axes.set_title(title, fontsize=8, color=RIGHT if right else WRONG)


def _spread(predictions: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """`count` of them at even steps through the order of their scores, both ends included."""
    ordered = sorted(predictions, key=lambda p: p["logit"])
    if len(ordered) <= count:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (count - 1))] for i in range(count)]
