"""The documentation against the program: links, command lines, names of verbs and fields. (mkdocs itself is a step of .ci/run.)"""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from docs import config_table
from lfm_jax import config
from lfm_jax.cli import build_parser
from lfm_jax.verbs import VERBS
from lfm_jax.verbs.arguments import unknown_options

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/*.md")]
FIELDS = config.flatten(config.base().to_dict())
FENCED, INDENTED = re.compile(r"^```\w*\n(.*?)^```", re.M | re.S), re.compile(r"^(?: {4}.*\n)+", re.M)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def anchors(page):
    """As GitHub and mkdocs make them of headings: words in lower case, joined by hyphens."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.M)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


def command_lines(page):
    """Words of every `lfm ...`, in code blocks and in backquotes, and the same without [optional] ones, None for a mention."""
    text = page.read_text().replace("\\\n", " ")
    blocks = FENCED.findall(text) + INDENTED.findall(FENCED.sub("", text))
    lines = [line.split("&&")[-1].strip() for block in blocks for line in block.splitlines()]
    mentions = re.findall(r"`(lfm [^`]+)`", FENCED.sub("", text))
    for line, whole in [*((line, True) for line in lines), *((mention, False) for mention in mentions)]:
        if re.match(r"lfm [a-z]", line):
            line = re.sub(r"\$\w+", "0", line.replace(" ... ", " "))  # what the shell puts in
            needed = shlex.split(re.sub(r"\[.*?\]", "", line), comments=True)[1:]
            yield shlex.split(re.sub(r"[][]", "", line), comments=True)[1:], needed if whole else None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings_that_are_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.is_file(), f"{name_of(page)}: no file {target}"
        assert not anchor or anchor in anchors(there), f"{name_of(page)}: no heading {target}; there are {sorted(anchors(there))}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_command_lines_are_taken_by_the_program(page, monkeypatch):
    monkeypatch.setattr(argparse.ArgumentParser, "error", lambda self, message: pytest.fail(f"{name_of(page)}: {words}: {message}"))
    _, verbs = build_parser()
    for words, needed in command_lines(page):
        verb = " ".join(words[:2]) if words[0] == "data" else words[0]
        assert verb in verbs, f"{name_of(page)}: there is no `lfm {verb}`"
        assert not unknown_options(verbs[verb], words), f"{name_of(page)}: {words}"
        if needed:
            _, rest = verbs[verb].parse_known_args(needed[len(verb.split()) :])
            assert all(word.startswith("--config.") for word in rest), f"{name_of(page)}: {words}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_config_fields_are_called_by_their_names(page):
    for name in re.findall(r"(?<![\w.])config\.([a-z][a-z0-9_.]*[a-z0-9_])(?![\w(])", page.read_text()):
        if name in ("py", "json"):
            continue
        assert any(f"{field}.".startswith(f"{name}.") for field in FIELDS), f"{name_of(page)}: there is no config.{name}"


def test_every_verb_is_in_the_documentation():
    told = {word for page in PAGES for words, _ in command_lines(page) for word in (words[0], " ".join(words[:2]))}
    assert not set(VERBS) - told


def test_every_config_field_has_its_reason_and_its_line_in_the_table():
    reasons = {name: field.reason for name, field in config.BASE.fields()}
    assert reasons.keys() == FIELDS.keys()
    assert all(reason.endswith((".", "...")) for reason in reasons.values())
    table = config_table.page()
    assert "| `steps` ↻ | unset | Length of the run; takes precedence over epochs. |" in table
    assert "| `optim.lr` | `0.0001` |" in table
    assert all(f"| `{field}`" in table for field in FIELDS)
