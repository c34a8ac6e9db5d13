"""Pictures for people who would rather look than read. Drawn with matplotlib, without a display, into files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import ImageOps

from lfm_jax.data.sources.base import Source
from lfm_jax.evaluation.metrics import HEADLINE, METRICS
from lfm_jax.inference.verdict import FOUND, UNKNOWN
from lfm_jax.runtime.palette import CORRECT, FAKE, FIRST, GREY, REAL, WRONG, css

MAX_GENERATORS = 8  # rows of one picture of examples
PER_LABEL = 4
PICTURE_SIDE = 512  # px at most of each picture of examples
MAX_GROUPS = 40  # rows of one picture of formats
LABEL_COLOURS = {"real": css(REAL), "fake": css(FAKE)}
CONTAINER_COLOURS = ("#e6dcc3", "#cfe3cf", "#d9d2e9", "#f2cfcf", "#cfe2ec", "#ead9cf", "#e0e0e0")  # fills behind their names
FAINT = {"color": css(FIRST), "alpha": 0.3}  # runs behind their mean
DARK, LIGHT, LINE = "#222222", "#e4e4e4", "#dddddd"


def examples(predictions: Sequence[dict[str, Any]], source: Source, path: Path) -> None:
    """Writes a PNG with a row of real and fake images of each generator: above each its truth, below it the answer.

    Within a generator the images are at even ranks of the score, so that the worst calls show too.
    """
    import matplotlib  # here, as it takes a second to load
    from matplotlib.figure import Figure

    first = [p for p in predictions if all(p[name] == predictions[0][name] for name in ("protocol", "view", "weights"))]
    generators = list(dict.fromkeys((p["suite"], p["generator"]) for p in first))[:MAX_GENERATORS]
    index_of = {example.path: index for index, example in enumerate(source.examples)}
    figure = Figure(figsize=(2 * PER_LABEL * 1.6 + 1.2, 2.2 * len(generators) + 0.6), layout="constrained")
    grid = figure.subplots(len(generators), 2 * PER_LABEL, squeeze=False)
    for axes_row, (suite, generator) in zip(grid, generators, strict=True):
        group = [p for p in first if (p["suite"], p["generator"]) == (suite, generator)]
        for label in (0, 1):
            chosen = _at_even_ranks([p for p in group if p["label"] == label], PER_LABEL)
            for column in range(PER_LABEL):
                axes = axes_row[label * PER_LABEL + column]
                axes.set_axis_off()
                if column < len(chosen):
                    _show(axes, chosen[column], source.image(index_of[chosen[column]["path"]]))
        axes_row[0].text(-0.08, 0.5, generator, rotation=90, ha="right", va="center", transform=axes_row[0].transAxes)
    figure.suptitle(
        f"Above each picture what it is, below it what was answered under {first[0]['protocol']}, with the score", fontsize=10
    )
    with matplotlib.rc_context({"savefig.dpi": 110}):
        figure.savefig(path)


def _show(axes: Any, prediction: dict[str, Any], image: Any) -> None:
    """A picture between its truth and the answer, which is coloured where it is right or wrong; "cannot tell" is neither."""
    # A figure keeps all its pictures, and drawing one takes 40 bytes per pixel.
    axes.imshow(image if max(image.size) <= PICTURE_SIDE else ImageOps.contain(image, (PICTURE_SIDE, PICTURE_SIDE)))
    axes.set_axis_off()
    fake, answer = bool(prediction["label"]), prediction["verdict"]
    axes.set_title("generated" if fake else "photograph", fontsize=8, color=DARK)
    colour = css(GREY) if answer == UNKNOWN else css(CORRECT if (answer == FOUND) == fake else WRONG)
    words = {"fontsize": 8, "color": colour, "ha": "center", "va": "top"}
    axes.text(0.5, -0.04, f"{answer} {prediction['score']:.3f}", transform=axes.transAxes, **words)


def _at_even_ranks(predictions: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """`count` of them at even steps through the order of their scores, both ends included."""
    ordered = sorted(predictions, key=lambda p: p["logit"])
    if len(ordered) <= count:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (count - 1))] for i in range(count)]


def formats(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes a PNG of the format audit's rows: real and fake of each group side by side, and the AP of format alone.

    With more than MAX_GROUPS rows, the classes of generators are left out.
    """
    from matplotlib.figure import Figure

    total = len(rows)
    if total > MAX_GROUPS:
        rows = [row for row in rows if not row["class"]][:MAX_GROUPS]
    figure = Figure(figsize=(15, 1.9 + 0.62 * len(rows)), layout="constrained")
    panels = figure.subplots(1, 5, sharey=True, gridspec_kw={"width_ratios": [1.1, 1.1, 1, 1, 1.5]})
    _containers(panels[0], rows)
    _qualities(panels[1], rows)
    _ranges(panels[2], rows, "pixels", "pixels")
    _ranges(panels[3], rows, "bytes_per_pixel", "bytes per pixel")
    _average_precisions(panels[4], rows)
    names = ["/".join(filter(None, (row["split"], row["suite"], row["generator"] or "(all)", row["class"]))) for row in rows]
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].set_ylim(len(rows) - 0.45, -0.55)
    for axes in panels:
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        for boundary in range(1, len(rows)):
            axes.axhline(boundary - 0.5, color=LINE, linewidth=0.8, zorder=0)
    title = "Formats of real (upper, blue) and fake (lower, red) images, and how far they alone give the label away"
    left_out = f" ({total - len(rows)} of {total} groups left out)" if len(rows) < total else ""
    figure.suptitle(f"{title}; lines: smallest, median and largest{left_out}", fontsize=12)
    figure.savefig(path, dpi=110)


def _sides(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[float, str, dict[str, Any]]]:
    """Height, colour and summary of the real and of the fake images of each row that has any."""
    for place, row in enumerate(rows):
        for label, offset in (("real", -0.18), ("fake", 0.18)):
            if row[label]["images"]:
                yield place + offset, LABEL_COLOURS[label], row[label]


def _containers(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    names = sorted({name for row in rows for label in ("real", "fake") for name in row[label]["containers"]})
    colours = dict(zip(names, CONTAINER_COLOURS, strict=False))
    for height, colour, side in _sides(rows):
        left = 0.0
        for name, count in sorted(side["containers"].items()):
            share = count / side["images"]
            axes.barh(height, share, 0.3, left=left, color=colours[name], edgecolor=colour, linewidth=1.5)
            if share > 0.2:
                axes.text(left + share / 2, height, name, ha="center", va="center", fontsize=7)
            left += share
    axes.set_xlim(0, 1.01)
    axes.set_title("containers", fontsize=10)


def _qualities(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    """A disc for each JPEG quality, its area the share of the label's images; files that are not JPEG stand at the right."""
    for height, colour, side in _sides(rows):
        for quality, count in side["quality"].items():
            at = 108 if quality == "none" else int(quality)
            axes.scatter(at, height, s=10 + 110 * count / side["images"], color=colour, alpha=0.75, linewidths=0)
    axes.axvline(102.5, color=LINE, linewidth=0.8)
    lowest = min([int(quality) for _, _, side in _sides(rows) for quality in side["quality"] if quality != "none"], default=50)
    axes.set_xlim(lowest - 5, 114)
    ticks = [tick for tick in range(0, 101, 10) if tick >= lowest - 5]
    axes.set_xticks([*ticks, 108], [*map(str, ticks), "no\nJPEG"])
    axes.set_title("JPEG quality (area: share)", fontsize=10)


def _ranges(axes: Any, rows: Sequence[dict[str, Any]], name: str, title: str) -> None:
    for height, colour, side in _sides(rows):
        least, median, most = side[name]
        axes.plot([least, most], [height, height], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot([median], [height], "o", color=colour, markersize=6)
    axes.set_xscale("log")
    least, most = axes.get_xlim()
    ticks = [digit * 10.0**power for power in range(-6, 10) for digit in (1, 2, 5) if least <= digit * 10.0**power <= most]
    ticks = ticks if len(ticks) <= 5 else [tick for tick in ticks if f"{tick:e}".startswith("1")]
    axes.set_xticks(ticks, [f"{tick:.0e}".replace("e+0", "e") if tick > 9999 else f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_title(title, fontsize=10)


def _average_precisions(axes: Any, rows: Sequence[dict[str, Any]]) -> None:
    markers = {"container": "s", "quality": "D", "size": "^", "bytes": "v", "all": "o"}
    for place, row in enumerate(rows):
        if row["ap"] is None:
            axes.text(0.5, place, "too few images", ha="center", va="center", fontsize=8, color=css(GREY))
            continue
        axes.fill_betweenx([place - 0.38, place + 0.38], row["chance"], row["luck"], color=LIGHT, linewidth=0)
        axes.plot([row["chance"]] * 2, [place - 0.38, place + 0.38], color=DARK, linewidth=2)
        for step, (name, marker) in enumerate(markers.items()):
            size, colour = (9, css(FIRST)) if name == "all" else (6, css(GREY))
            axes.plot([row["ap"][name]], [place - 0.3 + 0.15 * step], marker, color=colour, markersize=size, clip_on=False)
    for name, marker in markers.items():
        axes.plot([], [], marker, color=css(FIRST) if name == "all" else css(GREY), label=name)
    axes.plot([], [], color=DARK, linewidth=2, label="chance")
    axes.fill_between([], [], color=LIGHT, label="within luck")
    axes.set_xlim(0, 1.01)
    axes.set_title("AP of format alone", fontsize=10)
    axes.figure.legend(loc="outside lower right", ncols=7, fontsize=9, frameon=False)


def variants(runs: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], base: str, protocol: str, path: Path) -> None:
    """Writes a PNG of a sweep (`sweep_results`): ACC and AP of each variant, mean and deviation over its seeds.

    Behind them, faint, every run with its 95 % interval; a line at the mean of `base`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.6 + 0.5 * len(rows)), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(HEADLINE), sharey=True), HEADLINE, strict=True):
        for place, row in enumerate(rows):
            _runs(axes, place, [run for run in runs if run["variant"] == row["variant"]], name)
            colour = DARK if row["variant"] == base else css(FIRST)
            deviation = 100 * (row["deviation"][name] or 0)
            axes.errorbar([100 * row[name]], [place], xerr=deviation, fmt="o", color=colour, markersize=7, linewidth=2.2, capsize=4)
            if row["variant"] == base:
                axes.axvline(100 * row[name], color=colour, linewidth=0.8, linestyle=":", zorder=0)
        axes.set_title(METRICS[name]().heading, fontsize=11)
        axes.grid(axis="x", color=LINE)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.set_yticks(range(len(rows)), [row["variant"] for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
    figure.suptitle(
        f"{protocol}, %. Dot and bar: mean and deviation over seeds; faint: each run with its 95 % interval", fontsize=10
    )
    figure.savefig(path, dpi=110)


def _runs(axes: Any, place: int, runs: Sequence[dict[str, Any]], name: str) -> None:
    for step, run in enumerate(runs):
        height = place + 0.5 * ((step + 1) / (len(runs) + 1) - 0.5)
        ends = run["interval"][name] or (run[name],) * 2
        axes.plot([100 * end for end in ends], [height] * 2, **FAINT)
        axes.plot([100 * run[name]], [height], "o", markersize=4, **FAINT)
