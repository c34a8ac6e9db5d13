"""What was scored is kept, and found again only for the same weights and the same images."""

import dataclasses

import pytest

from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.cells import CellStore, data_hash
from lfm_jax.evaluation.evaluate import evaluate_network
from lfm_jax.inference.scoring import Scored


def test_a_cell_that_was_scored_is_not_scored_again(folder, given_logits, tmp_path):
    source = open_folder(folder({"gan_a": ([-1, 1], [1, 1])}))
    cells = CellStore(tmp_path / "cells", data_hash(source, threads=2))
    first = evaluate_network(given_logits, source, ["native"], cells=cells)
    scored = len(given_logits.seen)
    both = evaluate_network(given_logits, source, ["native", "crop32"], views=["as_is", "all_noise9"], cells=cells)
    assert len(given_logits.seen) == 4 * scored  # one of the four cells was known
    assert [row for row in both.rows if (row["protocol"], row["view"]) == ("native", "as_is")] == first.rows
    assert evaluate_network(given_logits, source, ["native"], cells=cells) == first
    assert len(given_logits.seen) == 4 * scored


def test_a_cell_that_an_earlier_version_scored_under_the_view_native_is_found(folder, given_logits, tmp_path):
    source = open_folder(folder({"gan_a": ([-1], [1])}))
    cells = CellStore(tmp_path / "cells", data_hash(source, threads=2))
    cell = {"weights": given_logits.card.weights_sha256[:12], "protocol": "native", "view": "native"}
    cells.save(cell, [Scored(0, 32, 32, -7.0), Scored(1, 32, 32, 9.0)])
    evaluation = evaluate_network(given_logits, source, ["native"], cells=cells)
    assert [(p["logit"], p["view"]) for p in evaluation.predictions] == [(-7.0, "as_is"), (9.0, "as_is")]
    assert given_logits.seen == []


@pytest.mark.parametrize("change", ["weights", "pixels", "label"])
def test_a_cell_of_other_weights_or_data_is_another_cell(change, folder, given_logits, tmp_path, save_with_logit):
    root = folder({"gan_a": ([-1, 1], [1, 1])})

    def cells():
        return CellStore(tmp_path / "cells", data_hash(open_folder(root), threads=2))

    evaluate_network(given_logits, open_folder(root), ["native"], cells=cells())
    scored = len(given_logits.seen)
    if change == "weights":
        given_logits.card = dataclasses.replace(given_logits.card, weights_sha256="0" * 64)
    elif change == "pixels":
        save_with_logit(root / "gan_a/0_real/0.png", 7)
    else:
        (root / "gan_a/0_real/0.png").rename(root / "gan_a/1_fake/9.png")
    evaluate_network(given_logits, open_folder(root), ["native"], cells=cells())
    assert len(given_logits.seen) == 2 * scored


def test_a_broken_image_is_part_of_a_kept_cell(folder, given_logits, tmp_path):
    root = folder({"gan_a": ([-1, 1], [1, 1])})
    (root / "gan_a/0_real/0.png").write_bytes(b"")
    cells = CellStore(tmp_path / "cells", data_hash(open_folder(root), threads=2))
    first, again = (evaluate_network(given_logits, open_folder(root), ["native"], cells=cells) for _ in range(2))
    assert again == first
    assert len(again.errors) == 1
