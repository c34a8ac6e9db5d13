"""What an evaluation says in sentences: how many generated pictures were found, how many photographs accused, and why not more."""

from lfm_jax.evaluation.answer_counts import answer_counts, sentences
from lfm_jax.inference.verdict import FOUND, NONE, UNKNOWN

CELL = {"weights": "w", "protocol": "crop256", "view": "as_is"}


def given(label, answer, why="", *, times=1):
    return [{**CELL, "label": label, "verdict": answer, "why": why}] * times


def test_the_counts_stand_in_sentences():
    predictions = given(1, FOUND, times=11) + given(1, UNKNOWN, "blind to JPEG", times=20) + given(1, NONE, times=2)
    predictions += given(0, FOUND, times=2) + given(0, UNKNOWN, "flat") + given(0, NONE, "never measured", times=40)
    (cell,) = answer_counts(predictions)
    assert cell["generated"] == {FOUND: 11, NONE: 2, UNKNOWN: 20}
    first, unsaid, silent, unmeasured = sentences(cell)
    assert first == "Found 11 of 33 generated pictures, accused 2 of 43 photographs."
    assert unsaid == "Of 21 files nothing can be said (20 generated, 1 photograph): 20 blind to JPEG, 1 flat."
    assert silent.startswith("In 42 files it found no trace, and 2 of these are generated. This is not proof")
    assert "40 of these was never measured" in unmeasured


def test_shares_of_the_picture_count_as_one_reason():
    predictions = given(1, UNKNOWN, "0.5 % looked at") + given(0, UNKNOWN, "0.7 % looked at")
    assert "2 too little looked at" in sentences(answer_counts(predictions)[0])[1]


def test_cells_are_counted_apart():
    other = [{**one, "view": "all_q96"} for one in given(1, UNKNOWN, "blind to JPEG")]
    cells = answer_counts(given(1, FOUND) + other)
    assert [cell["view"] for cell in cells] == ["as_is", "all_q96"]
    assert sentences(cells[0]) == ["Found 1 of 1 generated picture, accused 0 of 0 photographs."]
