"""Draws the pictures of docs/method.md into docs/pictures, from built-in images and the weights of the main job.

    lfm train --config=configs/tiny.py --workdir=runs/tiny && python docs/make_pictures.py runs/tiny

The weights must have top-k pooling and a linear head.
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
from lfm_jax.ops.pooling import random_k_pool, rank_dropout_rates, top_k_pool
from lfm_jax.runtime.palette import FAKE, REAL, css

PICTURES = Path(__file__).resolve().parent / "pictures"
SIDE = 128  # px of the images
PART = slice(8, 32), slice(88, 112)  # rows and columns of the corner that is enlarged
REAL_IMAGE, FAKE_IMAGE = 8, 7  # built-in test images; a pixel shuffle, a decoder unknown in training, enlarged the fake one
COLOURS = {"real": css(REAL), "fake": css(FAKE)}
TEAL, AMBER, GREY = "#0f766e", "#b45309", "#5c6370"  # of what has nothing to do with real and fake
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.dpi": 110,
    "svg.hashsalt": "lfm_jax",
    "svg.fonttype": "none",
}


def built_in_image(index: int) -> np.ndarray:
    return synthetic.example(0, "test", index, SIDE)[0]


def show(axes, pixels: np.ndarray, title: str, **options) -> None:
    """Show pixels without axes; `options` are those of imshow."""
    axes.imshow(pixels, interpolation="nearest", **options)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.spines[:].set_visible(False)


def residual() -> Figure:
    """A real and a fake photograph, a corner of each enlarged, and what the network sees of that corner."""
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    titles = {REAL_IMAGE: "real", FAKE_IMAGE: "fake, enlarged by a decoder"}
    for (whole, corner, residual_of_corner), (index, title) in zip(figure.subplots(2, 3), titles.items(), strict=True):
        image = built_in_image(index)
        difference = np.asarray(npr_residual(image[None].astype(np.float32))[0])[PART].mean(-1)
        show(whole, image, title)
        whole.add_patch(Rectangle((87.5, 7.5), 24, 24, fill=False, color="white", linewidth=1.5))
        show(corner, image[PART], "24 x 24 px of it")
        show(residual_of_corner, difference, "its NPR residual", cmap="magma", vmin=0, vmax=24)
    return figure


def windows() -> Figure:
    """What three neighbouring positions of a map see, and the middles of all other windows."""
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(built_in_image(FAKE_IMAGE), alpha=0.55)
    corners = 8 * np.arange(lfm_jax.models.SNet().map_side(SIDE))
    axes.scatter(*(grid.ravel() + 11 for grid in np.meshgrid(corners, corners)), s=4, color=GREY, linewidths=0)
    for column, colour in zip((5, 6, 7), (TEAL, AMBER, "#6d28d9"), strict=True):
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
    one_map = {name: of_image[..., number : number + 1] for name, of_image in maps.items()}
    low, high = (float(end(np.asarray(list(one_map.values())))) for end in (np.min, np.max))
    for panel, name in ((axes[0], "real"), (axes[1], "fake")):
        show(panel, np.asarray(one_map[name][0, ..., 0]), f"map {number} of the {name} image", cmap="Greys", vmin=low, vmax=high)
        pooled = {
            ("top 16", "s", "-"): top_k_pool(one_map[name], k=16),
            ("random 16", "x", ":"): random_k_pool(one_map[name], k=16, key=jax.random.key(0)),
        }
        for (pooling_name, marker, line), (values, positions) in pooled.items():
            rows, columns = np.divmod(np.asarray(positions).ravel(), one_map[name].shape[2])
            style = {"marker": marker, "markersize": 4.5, "markerfacecolor": "none", "color": COLOURS[name]}
            panel.plot(columns, rows, linestyle="", **style)
            axes[2].plot(np.arange(1, 17), np.asarray(values).ravel(), linestyle=line, label=f"{name}, {pooling_name}", **style)
    axes[2].set(xlabel="rank", ylabel="value", xticks=[1, 4, 8, 12, 16], ylim=(None, high + 1.8))
    axes[2].legend(frameon=False, fontsize=8, ncols=2, loc="upper right", columnspacing=1.2, handlelength=1.5)
    return figure


def dropout() -> Figure:
    """The probability that each rank is dropped, by preset."""
    figure = Figure(figsize=(5, 2.6), layout="constrained")
    axes = figure.subplots()
    for name, colour, rates in (
        ("paper.py: p_min 0.1, p_max 0.3", TEAL, rank_dropout_rates(16, p_min=0.1, p_max=0.3)),
        ("the same, drop_most smallest", GREY, rank_dropout_rates(16, p_min=0.1, p_max=0.3, drop_most="smallest")),
        ("release.py: p_min = p_max = 0.1", AMBER, rank_dropout_rates(16, p_min=0.1, p_max=0.1)),
    ):
        axes.plot(np.arange(1, 17), np.asarray(rates), "o-", markersize=4, color=colour, label=name)
    axes.set(xlabel="rank (1: the largest value)", ylabel="dropped with probability", ylim=(0, 0.35), xticks=[1, 4, 8, 12, 16])
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return figure


def evidence(detector: lfm_jax.Detector) -> Figure:
    """Which places the logits of the two images come from."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    for axes, index, name in zip(figure.subplots(1, 2), (REAL_IMAGE, FAKE_IMAGE), ("real", "fake"), strict=True):
        explanation = detector.explain(built_in_image(index), protocol="native")
        total, logit = sum(location.evidence for location in explanation.locations), explanation.prediction.logit
        title = f"{name}: bias {explanation.bias:+.1f}, evidence {total:+.1f}, logit {logit:+.1f}"
        show(axes, np.asarray(explanation.overlay().resize((512, 512), Image.Resampling.NEAREST)), title)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="of the main job, e.g. runs/tiny")
    detector = lfm_jax.load(parser.parse_args().weights)
    images = {"real": built_in_image(REAL_IMAGE), "fake": built_in_image(FAKE_IMAGE)}
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
