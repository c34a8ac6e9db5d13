"""The table of `lfm evaluate` in a terminal: as wide as that, with what is the same in all rows said once above it."""

import numpy as np
import pytest

from lfm_jax.evaluation.evaluate import Evaluation
from lfm_jax.evaluation.tables import cell_rows, seed_rows

SUITES = {"ForenSynths": ("progan", "whichfaceisreal"), "a set with a long name": ("stable_diffusion_v_1_5_512px_upscaled",)}


def evaluation(*, views=("as_is",), weights=("0123456789ab",), suites=tuple(SUITES), threshold=0.731):
    rows = []
    for name in weights:
        for view in views:
            rng = np.random.default_rng(len(view))
            predictions = [
                {"suite": suite, "generator": generator, "label": label, "logit": float(rng.normal(3 * label, 1))}
                for suite in suites
                for generator in SUITES[suite]
                for label in (0, 1)
                for _ in range(40)
            ]
            cell = {"weights": name, "protocol": "crop256", "view": view}
            rows += cell_rows(predictions, cell, threshold=threshold, temperature=1.0)
    return Evaluation(rows + (seed_rows(rows) if len(weights) > 1 else []), [], [])


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize(
    "cells", [{}, {"views": ("as_is", "fakes_q96")}, {"suites": ("ForenSynths",)}, {"weights": ("0123456789ab", "ba9876543210")}]
)
def test_it_fits_the_terminal_and_keeps_the_intervals_of_acc_and_ap(width, cells):
    made = evaluation(**cells)
    text = made.table(width)
    assert max(map(len, text.splitlines())) <= width
    row = next(row for row in made.rows if row["level"] == "generator")
    for name in ("acc", "ap"):
        ends = "-".join(f"{100 * end:.1f}" for end in row["interval"][name])
        assert f"{100 * row[name]:.1f} {ends}" in text


def test_what_is_the_same_in_all_rows_is_said_once():
    text = evaluation(suites=("ForenSynths",)).table(100)
    said = text.split("\n\n")[0]
    for word in ("weights 0123456789ab", "crop256", "as_is", "ForenSynths", "threshold 0.731"):
        assert word.casefold() in said.casefold()
        assert text.casefold().count(word.split()[-1].casefold()) == 1
    assert "fakes_q96" in evaluation(views=("as_is", "fakes_q96")).table(100)


def test_what_does_not_fit_is_named():
    made = evaluation(views=("as_is", "fakes_q96"))
    assert "Left out" in made.table(80) and "AUC" in made.table(80).split("Left out")[1]
    assert "Left out" not in made.table(200)
    assert "Left out" not in evaluation(suites=("ForenSynths",), threshold=0.5).table(100)


def test_without_a_width_it_is_complete_markdown():
    assert evaluation().table().startswith("| protocol ")


def test_without_a_scored_image_it_says_so():
    assert Evaluation([], [], []).table(80) == "No image could be scored."
