"""report.html: its numbers are those of results.json, nothing in it is from elsewhere, and no name becomes markup."""

import json
from html.parser import HTMLParser

import pytest

from lfm_jax.data.sources import open_folder
from lfm_jax.evaluate import evaluate, write
from lfm_jax.tables import percent

HOSTILE = "<script>alert(1)</script>\"'&"
VIEWS = ["native", "fakes_q96", "all_q96", "all_q50"]


class Page(HTMLParser):
    """`numbers` (row, metric, of the mean by images): text; `tags` with their attributes; all `text`."""

    def __init__(self, html):
        super().__init__()
        self.numbers, self.tags, self.text, self._row, self._metric = [], [], "", None, None
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        if "data-row" in values or "data-weighted" in values:
            self._row = int(values.get("data-row", values.get("data-weighted"))), "data-weighted" in values
        if "data-metric" in values:
            self._metric = values["data-metric"]

    def handle_data(self, data):
        self.text += data
        if self._metric and data.strip():
            self.numbers.append((*self._row, self._metric, data.strip()))
            self._metric = None


@pytest.fixture(scope="module")
def reported(new_given_logits, save_with_logit, tmp_path_factory):
    """report(views) -> the page, its HTML and results.json, of a set with mistakes, a hostile name and a broken file."""
    root = tmp_path_factory.mktemp("report") / "root"
    for generator in ("a", "b & <i>"):
        for label, logits in {"0_real": (-40, -3, 20), "1_fake": (60, 2, -30)}.items():
            for logit in logits:
                save_with_logit(root / generator / label / f"{HOSTILE.replace('/', '')}{logit}.png", logit)
    (root / "a/0_real/broken <b>.png").write_bytes(b"")
    detector, source = new_given_logits(), open_folder(root)

    def report(*views):
        out = root.parent / "-".join(views)
        write(evaluate(detector, source, ["native"], views=views), [detector], source, out)
        html = (out / "report.html").read_text()
        return Page(html), html, json.loads((out / "results.json").read_text())

    return report


@pytest.mark.parametrize("views", [["native"], VIEWS])
def test_the_numbers_are_those_of_results_json(reported, views):
    page, _, results = reported(*views)
    for row, weighted, metric, text in page.numbers:
        values = results["rows"][row]["weighted"] if weighted else results["rows"][row]
        assert text == percent(values[metric])
    assert {row for row, *_ in page.numbers} == set(range(len(results["rows"])))


def test_no_name_becomes_markup_and_nothing_is_loaded_from_elsewhere(reported):
    page, _, _ = reported(*VIEWS)
    assert not {"script", "i", "link", "iframe"} & {tag for tag, _ in page.tags}
    links = [values[name] for _, values in page.tags for name in ("src", "href") if name in values]
    assert links
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert HOSTILE.replace("/", "") in page.text


def test_broken_files_and_mistakes_are_shown(reported):
    page, html, _ = reported(*VIEWS)
    assert "broken <b>.png" in page.text
    assert "broken <b>" not in html
    assert sum(tag == "img" for tag, _ in page.tags) >= 8  # two mistakes of each label, each with its evidence


def test_one_view_says_that_it_cannot_tell(reported):
    assert "One view alone" in reported("native")[0].text
    assert "Saving the fakes alone" in reported(*VIEWS)[0].text
