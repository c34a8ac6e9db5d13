"""What an evaluation kept on disk, damaged: cells are named and scored again, results are refused in one line."""

import dataclasses
import json

import pytest

from lfm_jax.data.sources.folder import open_folder
from lfm_jax.errors import DataError
from lfm_jax.evaluation.cells import CellStore, data_hash
from lfm_jax.evaluation.evaluate import evaluate_network, join_evaluations
from lfm_jax.evaluation.leaks import known_from_tests
from lfm_jax.evaluation.saved import read_evaluation
from lfm_jax.report.files import write_files


@pytest.fixture
def root(save_with_logit, tmp_path):
    for name, logit in {"0_real/a": -3, "0_real/b": 1, "1_fake/a": 2, "1_fake/b": -1}.items():
        save_with_logit(tmp_path / "root/gan" / f"{name}.png", logit)
    return tmp_path / "root"


def edited(change):
    """change(content) as a damage to a JSON file."""

    def damage(data):
        content = json.loads(data)
        change(content)
        return json.dumps(content).encode()

    return damage


CELL_DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "binary": lambda data: b"\xff" + data,
    "a list": lambda data: b"[]",
    "deeply nested": lambda data: b"[" * 100_000,
    "one image fewer": edited(lambda cell: cell["scored"].pop()),
    "an image twice": edited(lambda cell: cell["scored"].__setitem__(1, cell["scored"][0])),
    "another field": edited(lambda cell: cell["scored"][0].update(colour="red")),
    "no logit and no reason": edited(lambda cell: cell["scored"][0].update(logit=None)),
    "not finite": edited(lambda cell: cell["scored"][0].update(logit=float("nan"))),
    "another logit": edited(lambda cell: cell["scored"][0].update(logit=7.5)),
}


@pytest.mark.parametrize("damage", CELL_DAMAGE.values(), ids=CELL_DAMAGE)
def test_a_damaged_cell_is_named_and_scored_again(damage, root, given_logits, tmp_path, capsys):
    source = open_folder(root)
    cells = CellStore(tmp_path / "cells", data_hash(source, threads=2))
    first = evaluate_network(given_logits, source, ["native"], cells=cells)
    (file,) = (tmp_path / "cells").iterdir()
    whole, batches = file.read_bytes(), len(given_logits.seen)
    file.write_bytes(damage(whole))
    assert evaluate_network(given_logits, source, ["native"], cells=cells) == first
    assert len(given_logits.seen) == 2 * batches
    assert f"{file} is damaged" in capsys.readouterr().err
    assert file.read_bytes() == whole


def test_a_whole_cell_that_an_earlier_version_wrote_without_a_hash_is_used(root, given_logits, tmp_path):
    source = open_folder(root)
    cells = CellStore(tmp_path / "cells", data_hash(source, threads=2))
    first = evaluate_network(given_logits, source, ["native"], cells=cells)
    (file,) = (tmp_path / "cells").iterdir()
    file.write_bytes(edited(lambda cell: cell.pop("sha256"))(file.read_bytes()))
    batches = len(given_logits.seen)
    assert evaluate_network(given_logits, source, ["native"], cells=cells) == first
    assert len(given_logits.seen) == batches


@pytest.fixture
def written(root, given_logits, tmp_path):
    """The output folder of an evaluation, by name `test/last` in a workdir."""
    source, out = open_folder(root), tmp_path / "run/test/last"
    write_files(evaluate_network(given_logits, source, ["native"]), [given_logits], source, out, data_sha256="abc")
    return out


RESULTS_DAMAGE = {
    ("results.json", "empty"): lambda data: b"",
    ("results.json", "half"): lambda data: data[: len(data) // 2],
    ("results.json", "list"): lambda data: b"[]",
    ("results.json", "no rows"): edited(lambda results: results.pop("rows")),
    ("results.json", "rows of numbers"): edited(lambda results: results.update(rows=[1, 2])),
    ("results.json", "no cards"): edited(lambda results: results.update(cards=None)),
    ("predictions.tsv", "empty"): lambda data: b"",
    ("predictions.tsv", "cut in a row"): lambda data: data[:-30],
    ("predictions.tsv", "cut in the last field"): lambda data: data[:-3],
    ("predictions.tsv", "cut between rows"): lambda data: b"".join(data.splitlines(keepends=True)[:-1]),
    ("predictions.tsv", "another logit"): lambda data: data.replace(b"\t-3.0\t", b"\t3.0\t"),
    ("predictions.tsv", "not a number"): lambda data: data.replace(b"\t-3.0\t", b"\tnan\t"),
    ("predictions.tsv", "another view"): lambda data: data.replace(b"as_is", b"as_us", 1),
}


@pytest.mark.parametrize(("place", "damage"), RESULTS_DAMAGE.items(), ids=map(" ".join, RESULTS_DAMAGE))
def test_damaged_results_are_refused_in_one_line(place, damage, written, lfm):
    read_evaluation(written)
    file = written / place[0]
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match="run the same lfm evaluate again") as refused:
        read_evaluation(written)
    assert str(written) in str(refused.value)
    ran = lfm("compare", written, written)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)


def test_results_of_an_earlier_version_are_read(written):
    file = written / "results.json"
    file.write_bytes(edited(lambda results: [results.pop(name) for name in ("predictions_sha256", "sha256")])(file.read_bytes()))
    assert len(read_evaluation(written).predictions["native", "as_is"]) == 4


def test_calibrate_does_not_pass_over_damaged_test_results(written, tmp_path):
    assert known_from_tests(tmp_path / "run", "abc")
    (written / "results.json").write_bytes(b"")
    with pytest.raises(DataError, match=r"results\.json is damaged"):
        known_from_tests(tmp_path / "run", "abc")


def test_errors_of_every_set_of_weights_are_kept(root, given_logits):
    source = open_folder(root)
    one = evaluate_network(given_logits, source, ["native"])
    too_small = {"path": "gan/0_real/a.png", "weights": "other", "protocol": "native", "view": "as_is", "error": "too small"}
    other = dataclasses.replace(one, errors=[too_small])
    assert join_evaluations([one, other]).errors == [too_small]
