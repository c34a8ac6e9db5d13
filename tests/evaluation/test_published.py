"""Published results stand beside ours if suite, generators, protocol and view are the same, and nowhere else."""

import dataclasses
import json

import pytest

from lfm_jax.data import suites
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.evaluate import evaluate_network
from lfm_jax.evaluation.published import PUBLISHED, beside
from lfm_jax.report.files import write_files


def ours(suite, generators, protocol, view="as_is"):
    names = {"protocol": protocol, "view": view, "suite": suite}
    return [
        *({**names, "level": "generator", "generator": generator} for generator in generators),
        {**names, "level": "suite", "generator": "mean"},
        {**names, "level": "overall", "suite": "all", "generator": "mean"},
    ]


def detectors(rows):
    return [row["detector"] for row in beside(rows)]


@pytest.mark.parametrize("name", ["ForenSynths", "CNN_synth_testset"])
def test_a_whole_suite_under_the_published_protocol_has_them_beside_it(name):
    (result,) = beside(ours(name, suites.find("ForenSynths").generators, "resize256"))
    expected = {"detector": "NPR", "suite": "ForenSynths", "protocol": "resize256", "acc": 0.925, "ap": 0.961}
    assert expected.items() <= result.items()
    assert "2312.10461" in result["source"]


@pytest.mark.parametrize(
    ("suite", "protocol", "view", "expected"),
    [
        ("ForenSynths", "crop256", "as_is", []),
        ("ForenSynths", "crop256_pad", "as_is", ["SAFE"]),
        ("ForenSynths", "resize256", "all_q96", []),
        ("ForenSynths", "resize256", "fakes_q96", []),
        ("GANGen-Detection", "native", "as_is", ["NPR"]),
        ("GANGen-Detection", "resize256", "as_is", []),
        ("UniversalFakeDetect", "resize256", "as_is", []),
        ("Diffusion1kStep", "resize256", "as_is", []),
    ],
)
def test_another_protocol_or_view_has_other_results_or_none(suite, protocol, view, expected):
    assert detectors(ours(suite, suites.find(suite).generators, protocol, view)) == expected


def test_a_part_of_a_suite_or_your_own_folder_has_none():
    generators = suites.find("ForenSynths").generators
    assert detectors(ours("ForenSynths", generators[1:], "resize256")) == []
    assert detectors(ours("ForenSynths", [*generators, "san"], "resize256")) == []
    assert detectors(ours("mine", generators, "resize256")) == []


def test_a_result_that_does_not_say_its_protocol_is_never_beside_ours():
    unknown = {row.source for row in PUBLISHED if row.protocol is None}
    comparable = {
        row["source"]
        for suite in suites.SUITES
        for view in ("as_is", "fakes_q96")
        for protocol in ("native", "resize256", "crop224", "crop256", "crop224_pad", "crop256_pad")
        for row in beside(ours(suite.name, suite.generators, protocol, view))
    }
    assert unknown
    assert comparable == {row.source for row in PUBLISHED} - unknown


def test_every_row_has_a_suite_a_source_and_shares_of_1():
    for row in PUBLISHED:
        assert row.suite == "all" or suites.find(row.suite).name == row.suite
        assert row.source
        assert all(0.4 < value <= 1 for value in dataclasses.astuple(row)[2:4] if value is not None)


def test_they_stand_below_the_table_and_in_the_files(given_logits, save_with_logit, tmp_path):
    for generator in suites.find("DiffusionForensics").generators:
        for label, logit in {"0_real": -1, "1_fake": 1}.items():
            save_with_logit(tmp_path / "root/diffusion_forensics" / generator / label / "0.png", logit)
            save_with_logit(tmp_path / "root/other" / generator / label / "0.png", logit)
    source = open_folder(tmp_path / "root")
    evaluation = evaluate_network(given_logits, source, ["native", "resize256"])
    write_files(evaluation, [given_logits], source, tmp_path / "out")
    table, results = (tmp_path / "out/table.md").read_text(), json.loads((tmp_path / "out/results.json").read_text())
    assert evaluation.table() + "\n" == table
    below = table.split("\n\n")[1]
    assert "published, same protocol" in below
    assert [cell.strip() for cell in below.splitlines()[2].split("|")[1:7]] == (
        ["NPR", "resize256", "as_is", "DiffusionForensics", "95.3", "99.8"]
    )
    assert results["published"] == beside(evaluation.rows)
    assert len(results["published"]) == 1
    alone = evaluate_network(given_logits, source, ["native"])
    write_files(alone, [given_logits], source, tmp_path / "alone")
    assert "published" not in alone.table()
    assert json.loads((tmp_path / "alone/results.json").read_text())["published"] == []
