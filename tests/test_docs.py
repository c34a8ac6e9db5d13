"""The documentation against the program: links, commands, verbs, fields, views, modules, files, and the headline figures.

mkdocs itself is a step of .ci/run.
"""

import argparse
import ast
import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

import lfm_jax
from docs import config_table
from lfm_jax import config
from lfm_jax._moved import MOVED
from lfm_jax.cli import build_parser
from lfm_jax.data import protocols, views
from lfm_jax.data.suites import SUITES
from lfm_jax.verbs import VERBS
from lfm_jax.verbs.arguments import unknown_options

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md")]
FIELDS = config.flatten(config.base().to_dict())
FENCED, INDENTED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S), re.compile(r"^(?: {4}.*\n)+", re.M)
FOLDERS = "lfm_jax|configs|tests|tools|docs|benchmarks|launch|notebooks|web|examples"
FIGURES = json.loads((ROOT / "docs/figures.json").read_text())


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def prose(page):
    """The text of a page without its fenced blocks."""
    return FENCED.sub("", page.read_text())


def anchors(page):
    """The anchors that GitHub and mkdocs make of headings: words in lower case, joined by hyphens."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


def command_lines(page):
    """The words of every `lfm ...`, in blocks and in backquotes, and the same without [optional] words, None for a mention."""
    text = page.read_text().replace("\\\n", " ")
    blocks = [block for _, block in FENCED.findall(text)] + INDENTED.findall(FENCED.sub("", text))
    lines = [line.split("&&")[-1].strip() for block in blocks for line in block.splitlines()]
    mentions = re.findall(r"`(lfm [^`]+)`", FENCED.sub("", text))
    for line, whole in [*((line, True) for line in lines), *((mention, False) for mention in mentions)]:
        if re.match(r"lfm [a-z]", line):
            line = re.sub(r"\$\w+", "0", line.replace(" ... ", " "))  # what the shell puts in
            required = shlex.split(re.sub(r"\[.*?\]", "", line), comments=True)[1:]
            yield shlex.split(re.sub(r"[][]", "", line), comments=True)[1:], required if whole else None


def values(page, option):
    """What a page gives to an option, placeholders in capitals and ellipses apart."""
    given = re.findall(rf"--{option}[ =]([^\s`'\"|]+)", page.read_text())
    return [value.rstrip(".,:;)") for value in given if not re.match(r"[A-Z.]|FILE", value)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f"{name_of(page)}: no file {target}"
        assert not anchor or anchor in anchors(file), f"{name_of(page)}: no heading {target}; the page has {sorted(anchors(file))}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_command_lines_are_accepted_by_the_program(page, monkeypatch):
    monkeypatch.setattr(argparse.ArgumentParser, "error", lambda self, message: pytest.fail(f"{name_of(page)}: {words}: {message}"))
    _, verbs = build_parser()
    for words, required in command_lines(page):
        verb = " ".join(words[:2]) if words[0] == "data" else words[0]
        assert verb in verbs, f"{name_of(page)}: there is no `lfm {verb}`"
        assert not unknown_options(verbs[verb], words), f"{name_of(page)}: {words}"
        if required:
            _, rest = verbs[verb].parse_known_args(required[len(verb.split()) :])
            assert all(word.startswith("--config.") for word in rest), f"{name_of(page)}: {words}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_views_protocols_and_presets_have_the_programs_names(page):
    for option, parse in (("views?", views.parse), ("protocol", protocols.parse)):
        for value in values(page, option):
            for name in value.split(","):
                assert parse(name).name == name, f"{name_of(page)}: --{option}={value}"
    for preset in values(page, "config"):
        file = ROOT / preset if preset.endswith(".py") else ROOT / "configs" / f"{preset}.py"
        assert file.is_file(), f"{name_of(page)}: there is no preset {preset}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_config_fields_are_called_by_their_names(page):
    for name in re.findall(r"(?<![\w.])config\.([a-z][a-z0-9_.]*[a-z0-9_])(?![\w(])", page.read_text()):
        if name in ("py", "json", "yml"):
            continue
        assert any(f"{field}.".startswith(f"{name}.") for field in FIELDS), f"{name_of(page)}: there is no config.{name}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_modules_and_files_are_called_by_their_names(page):
    text = page.read_text()
    for dotted in set(re.findall(r"(?<![\w/-])lfm_jax(?:\.[A-Za-z_]\w*)+", text)):
        if not (dotted in MOVED and page.name == "CHANGELOG.md"):
            assert resolves(dotted), f"{name_of(page)}: there is no {dotted}"
    for path in set(re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w/.-]*\w", text)):
        built = path.startswith("lfm_jax/export/web_page")
        assert built or (ROOT / path).exists() or (page.parent / path).exists(), f"{name_of(page)}: there is no {path}"


def resolves(dotted):
    """Whether a dotted name is a module of the package, or something in one."""
    module, attributes = dotted, []
    while module:
        try:
            part = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, attribute = module.rpartition(".")
            attributes.insert(0, attribute)
            continue
        for attribute in attributes:
            part = getattr(part, attribute, None)
        return part is not None
    return False


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_in_the_documentation_is_python(page):
    for language, block in FENCED.findall(page.read_text()):
        if language == "python":
            ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_cites_a_document_that_is_not_in_the_repository(page):
    assert not re.search("SPE[C]", page.read_text())  # written so that searching the repository for the word finds nothing


def test_every_verb_is_in_the_documentation():
    mentioned = {name for page in PAGES for words, _ in command_lines(page) for name in (words[0], " ".join(words[:2]))}
    assert not set(VERBS) - mentioned


def test_every_verb_has_its_row_in_the_table_of_commands():
    rows = re.findall(r"^\| `lfm ([a-z]+(?: [a-z]+)?)", (ROOT / "docs/cli.md").read_text(), re.M)
    assert sorted(rows) == sorted(VERBS)


def test_every_config_field_has_its_line_in_the_table_with_a_reason():
    rows = re.findall(r"^\| `([\w.]+)`(?: ↻)? \| (.*?) \| (.*) \|$", config_table.page(), re.M)
    assert {field for field, _, reason in rows if reason.strip()} == set(FIELDS)
    assert {field: default for field, default, _ in rows}["optim.lr"] == "`0.0001`"


def test_fields_that_may_change_on_resuming_are_marked_in_the_table():
    marked = re.findall(r"^\| `([\w.]+)` ↻ \|", config_table.page(), re.M)
    assert {"steps", "data.root", "eval.every_steps"} <= set(marked)
    assert not {"seed", "batch_size", "optim.lr"} & set(marked)


def test_the_readme_is_a_front_door():
    text = (ROOT / "README.md").read_text()
    first, second = FENCED.search(text)[2].splitlines()
    assert len(text.splitlines()) <= 120
    assert "lfm train --config=configs/tiny.py" in first, ".ci/run takes the main job from here"
    assert "pytest" in second, ".ci/run takes the tests from here"


def quoted(metric):
    """A figure as the pages quote it."""
    return f"{metric['value']} ± {metric['within']}"


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/baselines.md", "configs/tiny.py"])
def test_the_headline_figures_are_those_of_the_file(page):
    text = " ".join((ROOT / page).read_text().split())
    figures = re.findall(r"\b(AP|ACC) (\d[\d.]* ± [\d.]*\d)", text)
    assert {name for name, _ in figures} == {"AP", "ACC"}
    assert all(figure == quoted(FIGURES["main_job"][name.lower()]) for name, figure in figures)


def test_the_main_jobs_table_is_that_of_the_file():
    rows = re.findall(r"^\| (\w+) \| ([\d.]+ ± [\d.]+) \| ([\d.]+ ± [\d.]+) \|$", (ROOT / "docs/results.md").read_text(), re.M)
    metrics = {**FIGURES["main_job_generators"], "mean": FIGURES["main_job"]}
    assert {name: (acc, ap) for name, acc, ap in rows} == {
        name: (quoted(metric["acc"]), quoted(metric["ap"])) for name, metric in metrics.items()
    }


def test_the_runs_behind_the_headline_figures_lie_within_their_range():
    for run in FIGURES["main_job_runs"]:
        for name, metric in FIGURES["main_job"].items():
            assert abs(run[name] - metric["value"]) <= metric["within"], (run["on"], name)


def test_the_page_of_data_sets_has_every_suite_with_its_generators_where_the_program_looks_for_them():
    text = (ROOT / "docs/datasets.md").read_text()
    for suite in SUITES:
        assert re.search(rf"^\| {suite.name}[,| ]", text, re.M), suite.name
        written = " ".join(re.findall(rf"ROOT/{suite.name}/{{(.*?)}}", text)).replace(" ", ",").split(",")
        assert sorted(written) == sorted(suite.generators)


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == lfm_jax.__version__
    assert f"## [{lfm_jax.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
