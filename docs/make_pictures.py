"""The pictures of docs/method.md, from built-in images and the weights of the main job (configs/tiny.py).

    lfm train --config=configs/tiny.py --workdir=runs/tiny && python docs/make_pictures.py runs/tiny

In: weights with top-k pooling and a linear head. Out: docs/pictures/*.png and *.svg.
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

PICTURES = Path(__file__).resolve().parent / "pictures"
SIDE = 128  # px of the images
PART = slice(8, 32), slice(88, 112)  # rows and columns of the piece that is enlarged
REAL, FAKE = 8, 7  # of the built-in test images; the fake is enlarged by a pixel shuffle, a decoder never trained on
BLUE, ORANGE, GREY = "#0571b0", "#c2410c", "#5c6370"
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


def bare(axes, pixels: np.ndarray, title: str, **how) -> None:
    axes.imshow(pixels, interpolation="nearest", **how)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.spines[:].set_visible(False)


def residual() -> Figure:
    """A real and a fake photograph, a corner enlarged, and what the network is given of it."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    for row, (index, name) in zip(figure.subplots(2, 3), ((REAL, "real"), (FAKE, "fake, enlarged by a decoder")), strict=True):
        image = draw(index)
        left = np.asarray(npr_residual(image[None].astype(np.float32))[0])[PART].mean(-1)
        bare(row[0], image, name)
        row[0].add_patch(Rectangle((87.5, 7.5), 24, 24, fill=False, color="white", linewidth=1.5))
        bare(row[1], image[PART], "24 x 24 px of it")
        bare(row[2], left, "its NPR residual", cmap="magma", vmin=0, vmax=24)
    return figure


def windows() -> Figure:
    """What three neighbouring positions of a map see, and where all the others begin."""
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(draw(FAKE), alpha=0.55)
    corners = 8 * np.arange(lfm_jax.models.SNet().map_side(SIDE))
    axes.scatter(*(grid.ravel() + 11 for grid in np.meshgrid(corners, corners)), s=4, color=GREY, linewidths=0)
    for column, colour in zip((5, 6, 7), (BLUE, ORANGE, "#15803d"), strict=True):
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
    one = {name: each[..., number : number + 1] for name, each in maps.items()}
    low, high = (float(end(np.asarray(list(one.values())))) for end in (np.min, np.max))
    for place, name, colour in ((axes[0], "real", BLUE), (axes[1], "fake", ORANGE)):
        bare(place, np.asarray(one[name][0, ..., 0]), f"map {number} of the {name} image", cmap="Greys", vmin=low, vmax=high)
        top, positions = top_k_pool(one[name], k=16)
        drawn, others = random_k_pool(one[name], k=16, key=jax.random.key(0))
        for values, found, mark, line, what in ((top, positions, "s", "-", "top 16"), (drawn, others, "x", ":", "random 16")):
            rows, columns = np.divmod(np.asarray(found).ravel(), one[name].shape[2])
            how = {"marker": mark, "markersize": 4.5, "markerfacecolor": "none", "color": colour}
            place.plot(columns, rows, linestyle="", **how)
            axes[2].plot(np.arange(1, 17), np.asarray(values).ravel(), linestyle=line, label=f"{name}, {what}", **how)
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
        ("release.py: p_min = p_max = 0.1", ORANGE, RankDropout(0.1, 0.1).rates(16)),
    ):
        axes.plot(np.arange(1, 17), np.asarray(rates), "o-", markersize=4, color=colour, label=name)
    axes.set(xlabel="rank (1: the largest value)", ylabel="dropped with probability", ylim=(0, 0.35), xticks=[1, 4, 8, 12, 16])
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def evidence(detector: lfm_jax.Detector) -> Figure:
    """Where the two images' logits come from."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    for axes, index, name in zip(figure.subplots(1, 2), (REAL, FAKE), ("real", "fake"), strict=True):
        found = detector.explain(draw(index), protocol="native")
        bare(axes, np.asarray(found.overlay().resize((512, 512), Image.Resampling.NEAREST)), "")
        added = sum(each.evidence for each in found.locations)
        axes.set_title(f"{name}: bias {found.bias:+.1f}, evidence {added:+.1f}, logit {found.prediction.logit:+.1f}", fontsize=9)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="what the main job has trained, e.g. runs/tiny")
    detector = lfm_jax.load(parser.parse_args().weights)
    images = {"real": draw(REAL), "fake": draw(FAKE)}
    maps = {name: detector.model.apply(detector.variables, image[None]).maps for name, image in images.items()}
    weights = np.asarray(detector.variables["params"]["head"]["kernel"]).reshape(-1, 16)
    PICTURES.mkdir(exist_ok=True)
    with matplotlib.rc_context(STYLE):
        residual().savefig(PICTURES / "residual.png")
        windows().savefig(PICTURES / "windows.png")
        pooling(maps, int(weights.sum(1).argmax())).savefig(PICTURES / "pooling.png")
        dropout().savefig(PICTURES / "dropout.svg", metadata={"Date": None})
        evidence(detector).savefig(PICTURES / "evidence.png")


if __name__ == "__main__":
    main()
