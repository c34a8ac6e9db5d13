"""What CI says at its end: which tests were slow, and whether the documents' figures are those of the run."""

import json
import subprocess
import sys

import pytest

from tests.helpers.paths import REPOSITORY
from tools import check_figures, slowest_tests

ROWS = [
    {"level": "generator", "generator": "a", "ap": 0.99, "acc": 0.90},
    {"level": "generator", "generator": "b", "ap": 0.97, "acc": 0.80},
    {"level": "suite", "generator": "mean", "ap": 0.98, "acc": 0.85},
]
FIGURES = {"ap": {"value": 98.4, "within": 0.5}, "acc": {"value": 85.9, "within": 1.0}, "worst_ap": {"value": 97.0, "within": 0.1}}


def check(tmp_path, capsys, figures, rows=ROWS, **others):
    (tmp_path / "figures.json").write_text(json.dumps({"main_job": figures, **others}))
    (tmp_path / "results.json").write_text(json.dumps({"rows": rows}))
    status = check_figures.main([str(tmp_path / "results.json"), str(tmp_path / "figures.json")])
    return status, "".join(capsys.readouterr())


def test_figures_within_their_differences_pass_and_are_named(tmp_path, capsys):
    status, text = check(tmp_path, capsys, FIGURES)
    assert status == 0
    assert "ap 98.0, acc 85.0, worst_ap 97.0" in text


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("ap", 98.6, "ap is 98.0, the documents say 98.6 within 0.5"),
        ("acc", 83.9, "acc is 85.0, the documents say 83.9 within 1.0"),
        ("worst_ap", 97.2, "worst_ap is 97.0, the documents say 97.2 within 0.1"),
    ],
)
def test_a_figure_that_is_off_either_way_fails_with_both_values(tmp_path, capsys, name, value, line):
    status, text = check(tmp_path, capsys, FIGURES | {name: FIGURES[name] | {"value": value}})
    assert status == 1
    assert line in text


@pytest.mark.parametrize(("value", "status"), [(81.0, 0), (83.0, 1)])
def test_generators_may_have_figures_of_their_own(tmp_path, capsys, value, status):
    generators = {"b": {"acc": {"value": value, "within": 2.0}}}
    exit_status, text = check(tmp_path, capsys, FIGURES, main_job_generators=generators)
    assert exit_status == status
    assert ("b: acc is 80.0, the documents say 83.0 within 2.0" in text) == bool(status)


def test_below_the_floor_no_document_helps(tmp_path, capsys):
    low = [row | {"ap": 0.94} for row in ROWS]
    status, text = check(tmp_path, capsys, {"acc": FIGURES["acc"]}, low)
    assert status == 1
    assert "ap is 94.0, below 95.0" in text


def test_a_figure_that_is_no_number_is_off(tmp_path, capsys):
    status, text = check(tmp_path, capsys, FIGURES, [row | {"acc": float("nan")} for row in ROWS])
    assert status == 1
    assert "acc is nan" in text


def test_the_slowest_tests_of_all_stages_come_first(tmp_path, capsys):
    for stage, seconds in {"tests": (1.5, 30.25), "slow": (7.0, 0.1)}.items():
        cases = "".join(f'<testcase classname="tests.{stage}" name="test_{s}" time="{s}"/>' for s in seconds)
        (tmp_path / f"{stage}.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    (tmp_path / "broken.xml").write_text("<testsuites><testc")
    slowest_tests.main(["--count=2", *map(str, sorted(tmp_path.glob("*.xml"))), str(tmp_path / "missing.xml")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["30.2", "s", "tests", "tests.tests::test_30.25"],
        ["7.0", "s", "slow", "tests.slow::test_7.0"],
    ]


def test_an_unknown_stage_is_refused_before_anything_runs():
    ran = subprocess.run([REPOSITORY / ".ci" / "run", "everything"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "unknown stage everything: expected main, tests, style, package, slow or version" in ran.stderr


def test_reads_what_pytest_writes(tmp_path):
    (tmp_path / "test_one.py").write_text("def test_it(): pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={tmp_path / 'one.xml'}", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (test,) = slowest_tests.slowest([tmp_path / "one.xml"], 10)
    assert (test.stage, test.name) == ("one", "test_one::test_it")
