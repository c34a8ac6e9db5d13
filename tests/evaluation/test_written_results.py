"""The files of an evaluation: predictions.tsv, results.json, table.md and examples.png, whatever the images are called."""

import csv
import json
import math
import os

import pytest
from PIL import Image

from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.evaluate import PREDICTION_COLUMNS, evaluate_network
from lfm_jax.report.files import write_files


@pytest.fixture(scope="module")
def written(fill, new_given_logits, tmp_path_factory):
    """Evaluation of two suites with one broken file, its source, and the folder its files are in."""
    folder = tmp_path_factory.mktemp("written")
    root = fill(folder / "root", {"S/a": ([-3, 1], [2, 1]), "T/b": ([-1], [30])})
    (root / "S/a/0_real/1.png").write_bytes(b"")
    source, detector = open_folder(root), new_given_logits()
    evaluation = evaluate_network(detector, source, ["native", "crop32"])
    write_files(evaluation, [detector], source, folder / "new" / "out", data_sha256="abc")
    return evaluation, source, folder / "new" / "out"


def test_predictions_tsv_has_each_prediction(written):
    evaluation, _, out = written
    with open(out / "predictions.tsv", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    columns = ("path", "suite", "generator", "label", "logit", "score", "protocol", "view", "weights")
    assert tuple(rows[0]) == PREDICTION_COLUMNS == columns
    assert len(rows) == len(evaluation.predictions) == 10
    first = {"path": "S/a/0_real/0.png", "suite": "S", "generator": "a", "label": "0", "protocol": "native"}
    assert first.items() <= rows[0].items()
    assert float(rows[0]["logit"]) == -3
    for row in rows:
        assert float(row["score"]) == pytest.approx(1 / (1 + math.exp(-float(row["logit"]))), rel=1e-12)


def strict_json(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_results_json_is_strict_and_complete(written, given_logits):
    evaluation, source, out = written
    results = strict_json((out / "results.json").read_text())
    assert results["rows"] == evaluation.rows
    assert results["errors"] == evaluation.errors
    assert len(results["errors"]) == 2
    assert (results["data"], results["images"]) == (str(source.root), 6)
    assert results["data_sha256"] == "abc"
    assert results["cards"][0]["protocol"] == given_logits.card.protocol
    assert {row["weights"] for row in results["rows"]} == {results["cards"][0]["weights_sha256"][:12]}
    assert {"lfm_jax", "jax"} <= results["versions"].keys()


def test_undefined_metrics_are_null_in_results_json(folder, given_logits, tmp_path):
    source = open_folder(folder({"gan_a": ([], [1])}))
    write_files(evaluate_network(given_logits, source, ["native"]), [given_logits], source, tmp_path / "out")
    (generator, _) = strict_json((tmp_path / "out/results.json").read_text())["rows"]
    assert generator["real_acc"] is generator["ap"] is None


def test_table_md_is_the_table(written):
    evaluation, _, out = written
    assert (out / "table.md").read_text() == evaluation.table() + "\n"


def test_examples_png_shows_something(written):
    *_, out = written
    with Image.open(out / "examples.png") as image:
        assert min(image.size) > 200
        assert len(image.convert("RGB").getcolors(maxcolors=1 << 24)) > 10


def test_writing_again_replaces_the_files(written, given_logits):
    evaluation, source, out = written
    before = (out / "results.json").read_bytes()
    write_files(evaluation, [given_logits], source, out, data_sha256="abc")
    assert (out / "results.json").read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == [
        *("examples.png", "predictions.tsv", "report.html", "results.json", "table.md")
    ]


def test_a_set_without_a_usable_image_still_reports(folder, given_logits, tmp_path):
    root = folder({"gan_a": ([-1], [1])})
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    source = open_folder(root)
    evaluation = evaluate_network(given_logits, source, ["native"])
    assert len(evaluation.errors) == 2
    assert evaluation.rows == []
    write_files(evaluation, [given_logits], source, tmp_path / "out")
    assert len(strict_json((tmp_path / "out/results.json").read_text())["errors"]) == 2
    assert "ACC" in evaluation.table()


def paths_written(out):
    with open(out / "predictions.tsv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [row["path"] for row in csv.DictReader(file, delimiter="\t")]


def test_any_file_name_comes_back_from_predictions_tsv(folder, given_logits, tmp_path, save_with_logit):
    names = ["\u00e9t\u00e9 \u56fe.png", 'tab\tquote".png', "line\nbreak.png"]
    root = folder({"gan_a": ([-1], [])})
    for name in names:
        save_with_logit(root / "gan_a/1_fake" / name, 1)
    source = open_folder(root)
    write_files(evaluate_network(given_logits, source, ["native"]), [given_logits], source, tmp_path / "out")
    assert sorted(paths_written(tmp_path / "out")) == sorted(["gan_a/0_real/0.png", *(f"gan_a/1_fake/{name}" for name in names)])


def test_a_file_name_that_is_not_utf8_costs_no_results(folder, given_logits, tmp_path, save_with_logit):
    """As in archives made on old Windows machines."""
    root = folder({"gan_a": ([-1], [1])})
    try:
        save_with_logit(root / "gan_a/1_fake/new.png", 1).rename(root / "gan_a/1_fake" / os.fsdecode(b"caf\xe9.png"))
    except OSError:
        pytest.skip("this file system takes no such name")
    source = open_folder(root)
    write_files(evaluate_network(given_logits, source, ["native"]), [given_logits], source, tmp_path / "out")
    assert len(paths_written(tmp_path / "out")) == 3
    assert strict_json((tmp_path / "out/results.json").read_text())["rows"]
