"""Draws the pictures of the README and of docs/method.md, from built-in images and the weights of the main job.

    lfm train --config=configs/tiny.py --workdir=runs/tiny && python docs/make_pictures.py runs/tiny

It takes weights with top-k pooling and a linear head, and writes to docs/pictures/. Every image shown is drawn by
`lfm_jax.data.synthetic`, so the pictures carry nobody's licence but this project's.
"""

import argparse
from pathlib import Path

import jax
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import lfm_jax
from lfm_jax.data import synthetic
from lfm_jax.ops.npr import npr_residual
from lfm_jax.ops.pooling import RankDropout, random_k_pool, top_k_pool
from lfm_jax.runtime import palette

PICTURES = Path(__file__).resolve().parent / "pictures"
SIDE = 128  # px of the images
PART = slice(8, 32), slice(88, 112)  # rows and columns of the piece that is enlarged
REAL, FAKE = 8, 7  # of the built-in test images; the fake is enlarged by a pixel shuffle, a decoder never trained on
BLUE, RED, TEAL, GREY = (palette.css(colour) for colour in (palette.REAL, palette.FAKE, palette.FIRST, palette.GREY))
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 110,
    "svg.hashsalt": "lfm_jax",
    "svg.fonttype": "none",
}


def draw(index: int, side: int = SIDE) -> np.ndarray:
    return synthetic.example(0, "test", index, side)[0]


def bare(axes, pixels: np.ndarray, title: str, **options) -> None:
    """Shows pixels without ticks or frame."""
    axes.imshow(pixels, interpolation="nearest", **options)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.spines[:].set_visible(False)


def residual_of(image: np.ndarray) -> np.ndarray:
    """The NPR residual of the enlarged piece, averaged over the colours."""
    return np.asarray(npr_residual(image[None].astype(np.float32))[0])[PART].mean(-1)


def frame_the_piece(axes) -> None:
    axes.add_patch(Rectangle((87.5, 7.5), 24, 24, fill=False, color="white", linewidth=1.5))


def front(detector: lfm_jax.Detector) -> Figure:
    """The README's picture: a real and a fake image, the residual of a piece, and where the evidence lay."""
    figure = Figure(figsize=(7, 4.9), layout="constrained")
    for row, (index, name) in zip(figure.subplots(2, 3), ((REAL, "real"), (FAKE, "fake")), strict=True):
        image = draw(index)
        explanation = detector.explain(image, protocol="native")
        bare(row[0], image, f"a {name} image")
        frame_the_piece(row[0])
        bare(row[1], residual_of(image), "residual of the framed piece", cmap="magma", vmin=0, vmax=24)
        overlay = explanation.overlay().resize((512, 512), Image.Resampling.NEAREST)
        bare(row[2], np.asarray(overlay), f"evidence, logit {explanation.prediction.logit:+.1f}: {name}")
    return figure


def residual() -> Figure:
    """A real and a fake photograph, a corner enlarged, and what the network is given of it."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    for row, (index, name) in zip(figure.subplots(2, 3), ((REAL, "real"), (FAKE, "fake, enlarged by a decoder")), strict=True):
        image = draw(index)
        bare(row[0], image, name)
        frame_the_piece(row[0])
        bare(row[1], image[PART], "24 x 24 px of it")
        bare(row[2], residual_of(image), "its NPR residual", cmap="magma", vmin=0, vmax=24)
    return figure


def windows() -> Figure:
    """What three neighbouring positions of a map see, and where all the others begin."""
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(draw(FAKE), alpha=0.55)
    corners = 8 * np.arange(lfm_jax.models.SNet().map_side(SIDE))
    axes.scatter(*(grid.ravel() + 11 for grid in np.meshgrid(corners, corners)), s=4, color=GREY, linewidths=0)
    for column, colour in zip((5, 6, 7), (BLUE, RED, TEAL), strict=True):
        axes.add_patch(Rectangle((8 * column - 0.5, 39.5), 23, 23, fill=False, color=colour, linewidth=2))
        axes.plot(8 * column + 11, 40 + 11, "o", color=colour, markersize=5)
    axes.annotate("", (39.5, 34), (62.5, 34), arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0})
    axes.text(51, 31, "23 px", ha="center")
    axes.annotate("", (39.5, 68), (47.5, 68), arrowprops={"arrowstyle": "<->", "shrinkA": 0, "shrinkB": 0})
    axes.text(43.5, 76, "8 px", ha="center")
    axes.set(xticks=[0, 64, 128], yticks=[0, 64, 128], xlabel="px")
    return figure


def pooling(maps: dict[str, jax.Array], number: int) -> Figure:
    """One map of a real and of a fake image, its 16 strongest positions, and 16 drawn at random."""
    figure = Figure(figsize=(7.4, 2.9), layout="constrained")
    axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.25))
    one = {name: image_maps[..., number : number + 1] for name, image_maps in maps.items()}
    low, high = (float(extreme(np.asarray(list(one.values())))) for extreme in (np.min, np.max))
    for place, name, colour in ((axes[0], "real", BLUE), (axes[1], "fake", RED)):
        bare(place, np.asarray(one[name][0, ..., 0]), f"map {number} of the {name} image", cmap="Greys", vmin=low, vmax=high)
        strongest = top_k_pool(one[name], k=16)
        random = random_k_pool(one[name], k=16, key=jax.random.key(0))
        for (values, positions), mark, line, pool in ((strongest, "s", "-", "top 16"), (random, "x", ":", "random 16")):
            rows, columns = np.divmod(np.asarray(positions).ravel(), one[name].shape[2])
            style = {"marker": mark, "markersize": 4.5, "markerfacecolor": "none", "color": colour}
            place.plot(columns, rows, linestyle="", **style)
            axes[2].plot(np.arange(1, 17), np.asarray(values).ravel(), linestyle=line, label=f"{name}, {pool}", **style)
    axes[2].set(xlabel="rank", ylabel="value", xticks=[1, 4, 8, 12, 16], ylim=(None, high + 1.8))
    axes[2].legend(frameon=False, fontsize=8, ncols=2, loc="upper right", columnspacing=1.2, handlelength=1.5)
    return figure


def dropout() -> Figure:
    """The probability that each rank is dropped, under the presets."""
    figure = Figure(figsize=(5, 2.6), layout="constrained")
    axes = figure.subplots()
    for name, colour, rates in (
        ("paper.py: p_min 0.1, p_max 0.3", BLUE, RankDropout(0.1, 0.3).rates(16)),
        ("the same, drop_most smallest", GREY, RankDropout(0.1, 0.3, drop_most="smallest").rates(16)),
        ("release.py: p_min = p_max = 0.1", RED, RankDropout(0.1, 0.1).rates(16)),
    ):
        axes.plot(np.arange(1, 17), np.asarray(rates), "o-", markersize=4, color=colour, label=name)
    axes.set(xlabel="rank (1: the largest value)", ylabel="dropped with probability", ylim=(0, 0.35), xticks=[1, 4, 8, 12, 16])
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def evidence(detector: lfm_jax.Detector) -> Figure:
    """Where the logits of the two images come from."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    for axes, index, name in zip(figure.subplots(1, 2), (REAL, FAKE), ("real", "fake"), strict=True):
        explanation = detector.explain(draw(index), protocol="native")
        bare(axes, np.asarray(explanation.overlay().resize((512, 512), Image.Resampling.NEAREST)), "")
        evidence_sum = sum(location.evidence for location in explanation.locations)
        logit = explanation.prediction.logit
        axes.set_title(f"{name}: bias {explanation.bias:+.1f}, evidence {evidence_sum:+.1f}, logit {logit:+.1f}", fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="workdir of the main job, e.g. runs/tiny")
    detector = lfm_jax.load(parser.parse_args().weights)
    images = {"real": draw(REAL), "fake": draw(FAKE)}
    maps = {name: detector.model.apply(detector.variables, image[None]).maps for name, image in images.items()}
    weights = np.asarray(detector.variables["params"]["head"]["kernel"]).reshape(-1, 16)
    PICTURES.mkdir(exist_ok=True)
    with matplotlib.rc_context(STYLE):
        front(detector).savefig(PICTURES / "front.png")
        residual().savefig(PICTURES / "residual.png")
        windows().savefig(PICTURES / "windows.png")
        pooling(maps, int(weights.sum(1).argmax())).savefig(PICTURES / "pooling.png")
        dropout().savefig(PICTURES / "dropout.svg", metadata={"Date": None})
        evidence(detector).savefig(PICTURES / "evidence.png")


if __name__ == "__main__":
    main()
