"""report.html: its numbers are those of results.json, it loads nothing from elsewhere, and no name becomes markup."""

import functools
import itertools
import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lfm_jax.data import suites
from lfm_jax.data.sources.drawn import SyntheticSource
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation import tables
from lfm_jax.evaluation.evaluate import evaluate_network, join_evaluations
from lfm_jax.evaluation.metrics import METRICS, columns
from lfm_jax.evaluation.published import beside
from lfm_jax.evaluation.tables import cell_rows
from lfm_jax.report import gallery, notes
from lfm_jax.report import page as report_lib
from lfm_jax.report.files import write_files

HOSTILE = "<script>alert(1)</script>\"'&"
VIEWS = ["as_is", "fakes_q96", "all_q96", "all_q50"]


class Page(HTMLParser):
    """A parsed page: `numbers` (row, whether weighted by images, metric, text), `tags` with attributes, and all `text`."""

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
    """report(views) -> page, HTML and results.json of a set with mistakes, hostile names and a broken file."""
    root = tmp_path_factory.mktemp("report") / "root"
    for generator in ("a", "b & <i>"):
        for label, logits in {"0_real": (-40, -3, 20), "1_fake": (60, 2, -30)}.items():
            for logit in logits:
                save_with_logit(root / generator / label / f"{HOSTILE.replace('/', '')}{logit}.png", logit)
    (root / "a/0_real/broken <b>.png").write_bytes(b"")
    detector, source = new_given_logits(), open_folder(root)

    @functools.cache
    def report(*views):
        out = root.parent / "-".join(views)
        write_files(evaluate_network(detector, source, ["native"], views=views), [detector], source, out)
        html = (out / "report.html").read_text()
        return Page(html), html, json.loads((out / "results.json").read_text())

    return report


@pytest.mark.parametrize("views", [["as_is"], VIEWS])
def test_the_numbers_are_those_of_results_json(reported, views):
    page, _, results = reported(*views)
    for row, weighted, metric, text in page.numbers:
        values = results["rows"][row]["weighted"] if weighted else results["rows"][row]
        assert text == METRICS[metric]().text(values[metric])
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


def test_what_a_file_says_of_its_origin_stands_below_its_picture_and_is_no_markup(new_given_logits, tmp_path):
    for label, name, text in (("1_fake", "says", "NovelAI <script>1</script>"), ("0_real", "silent", "GIMP")):
        info = PngInfo()
        info.add_text("Software", text)
        (tmp_path / "root/gan" / label).mkdir(parents=True)
        red = 60 if label == "1_fake" else 140  # both are mistakes
        Image.new("RGB", (32, 32), (red, 0, 0)).save(tmp_path / "root/gan" / label / f"{name}.png", pnginfo=info)
    detector, source = new_given_logits(), open_folder(tmp_path / "root")
    write_files(evaluate_network(detector, source, ["native"]), [detector], source, tmp_path / "out")
    page = Page((tmp_path / "out/report.html").read_text())
    assert "The file says it was generated (png text: Software names NovelAI" in " ".join(page.text.split())
    assert "GIMP" not in page.text
    assert "script" not in {tag for tag, _ in page.tags}


def test_it_begins_with_what_was_found_and_accused_in_counts(reported):
    """The pictures of this set have one colour each, so that nothing can be said of any of them."""
    page, _, results = reported(*VIEWS)
    counts = next(cell for cell in results["answers"] if cell["view"] == "as_is")
    assert counts["generated"]["cannot tell"] == counts["photographs"]["cannot tell"] == 6
    text = " ".join(page.text.split())
    assert "In short Found 0 of 6 generated pictures, accused 0 of 6 photographs." in text
    assert "Of 12 files nothing can be said (6 generated, 6 photographs): 12 flat." in text


def test_a_report_of_one_view_says_what_that_cannot_show(reported):
    assert "One view alone" in reported("as_is")[0].text
    assert "Saving only the fakes" in reported(*VIEWS)[0].text


def test_its_policy_lets_nothing_be_loaded_or_run(reported):
    page, _, _ = reported("as_is")
    (policy,) = [values["content"] for tag, values in page.tags if values.get("http-equiv") == "Content-Security-Policy"]
    assert policy.split("; ")[0] == "default-src 'none'"
    assert {part.split()[0] for part in policy.split("; ")[1:]} == {"img-src", "style-src", "base-uri", "form-action"}


def test_headings_are_in_order_tables_have_captions_and_charts_and_pictures_have_words(reported):
    page, _, _ = reported(*VIEWS)
    tags = [tag for tag, _ in page.tags]
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below <= above + 1 for above, below in itertools.pairwise(levels))
    assert all(tags[place + 1] == "caption" for place, tag in enumerate(tags) if tag == "table")
    assert all(tags[place + 1] == "title" for place, tag in enumerate(tags) if tag == "svg")
    assert all("scope" in values for tag, values in page.tags if tag == "th")
    assert all(values["aria-label"] for tag, values in page.tags if tag == "svg")
    assert all(values["alt"] for tag, values in page.tags if tag == "img")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(scheme):
    """By 4.5 to 1, as WCAG 2 asks for small text."""
    css = (Path(report_lib.__file__).parent / "page.css").read_text()
    blocks = [dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)]
    colours = blocks[("light", "dark").index(scheme)]

    def luminance(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text, behind in itertools.product(("text", "quiet", "link"), ("page", "card", "tint")):
        dark, light = sorted((luminance(colours[text]), luminance(colours[behind])))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, behind)


CELL = {"weights": "w", "protocol": "native", "view": "as_is"}


def rows_of(**logits):
    """generator=(logits of reals, of fakes) -> rows of a cell."""
    predictions = [
        {"suite": "S", "generator": generator, "label": label, "logit": float(logit)}
        for generator, labels in logits.items()
        for label, values in enumerate(labels)
        for logit in values
    ]
    return cell_rows(predictions, CELL, threshold=0.5, temperature=1.0)


@pytest.mark.parametrize(
    ("reals", "fakes", "letters"),
    [
        (range(-30, 10), range(-10, 30), {}),
        (range(-9, 3), range(-3, 30), {"name": "a"}),
        (range(-40, 0), range(1, 41), {"acc": "b", "ap": "b"}),
        (range(1, 41), range(-40, 0), {"acc": "b", "ap": "e"}),  # all wrong: no resample has so low an AP
        ([], range(-10, 30), {"name": "a", "ap": "c"}),
    ],
)
def test_intervals_that_mean_less_than_they_seem_to_have_a_footnote(reals, fakes, letters):
    for row in notes.marked(rows_of(a=(reals, fakes)), {name: METRICS[name]() for name in ("acc", "ap")}):
        assert row["marks"] == letters
        assert notes.below([row]) == {letter: notes.WORDS[letter] for letter in sorted(letters.values())}


def test_a_mean_has_the_footnote_of_its_generators(reported):
    enough = (range(-30, 10), range(-10, 30))
    marked = notes.marked(rows_of(a=([-1, 1], [-1, 1]), b=enough), {"eer": METRICS["eer"]()})
    assert [row["marks"].get("name") for row in marked] == ["a", None, "a", None]
    assert notes.WORDS["a"] in reported("as_is")[0].text


def test_intervals_from_bins_have_a_footnote(monkeypatch):
    monkeypatch.setattr(tables, "EXACT_UP_TO", 70)
    rows = notes.marked(rows_of(a=(range(-30, 10), range(-10, 30))), {"acc": METRICS["acc"]()})
    assert [row["marks"] for row in rows] == [{"name": "f"}] * 2
    assert notes.below(rows) == {"f": tables.BINNED}


def test_a_format_that_separates_the_labels_is_reported_in_words(new_given_logits, save_with_logit, tmp_path):
    root = tmp_path / "root"
    for index in range(12):
        save_with_logit(root / f"gan/0_real/{index}.jpg", -index)
        save_with_logit(root / f"gan/1_fake/{index}.png", index)
    detector, source = new_given_logits(), open_folder(root)
    write_files(evaluate_network(detector, source, ["native"]), [detector], source, tmp_path / "out")
    page = Page((tmp_path / "out/report.html").read_text())
    (row,) = json.loads((tmp_path / "out/results.json").read_text())["format"]
    assert row["ap"]["container"] == 1
    assert page.text.count(row["verdict"]) == 2  # in short, and in its section
    assert "format alone separates real from fake with AP 1.00" in row["verdict"]


def test_drawn_images_have_no_format(new_given_logits, tmp_path):
    detector, source = new_given_logits(), SyntheticSource("test", size=4, side=64, seed=0)
    write_files(evaluate_network(detector, source, ["native"]), [detector], source, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text())["format"] == []
    assert "file format alone" not in Page((tmp_path / "report.html").read_text()).text


@pytest.mark.parametrize(("protocol", "stands"), [("resize256", True), ("crop256", False)])
def test_published_rows_stand_beside_ours_only_under_their_own_protocol(protocol, stands, given_logits):
    cell = {"weights": given_logits.card.weights_sha256[:12], "protocol": protocol, "view": "as_is"}
    predictions = [
        {"suite": "ForenSynths", "generator": generator, "label": label, "logit": logit, "score": 0.5, "path": "", **cell}
        for generator in suites.find("ForenSynths").generators
        for label, logit in ((0, -1.0), (1, 1.0), (1, 2.0))
    ]
    rows = cell_rows(predictions, cell, threshold=0.5, temperature=1.0)
    results = {"data": "", "data_sha256": "", "images": 24, "rows": rows, "published": beside(rows), "errors": [], "format": []}
    page = Page(report_lib.render_page({**results, "cards": [asdict(given_logits.card)], "versions": {}}, predictions, []))
    assert ("arXiv 2312.10461" in page.text and "measured here" in page.text) is stands


def test_several_weights_stand_apart_with_the_deviation_of_their_mean(new_given_logits, labelled_folder, tmp_path):
    detectors, source = [new_given_logits(), new_given_logits()], open_folder(labelled_folder)
    detectors[1].card = replace(detectors[1].card, weights_sha256="f" * 64, threshold=0.75)
    evaluation = join_evaluations([evaluate_network(detector, source, ["native"], views=VIEWS) for detector in detectors])
    write_files(evaluation, detectors, source, tmp_path)
    page = Page((tmp_path / "report.html").read_text())
    assert {row for row, *_ in page.numbers} == set(range(len(evaluation.rows)))
    assert page.text.count("as_is, mean of 2") and page.text.count("as_is, ffffffffffff") and "±" in page.text
    assert "ACC at threshold" in page.text


def test_every_column_is_explained(reported):
    page, _, _ = reported("as_is")
    for metric in columns(fitted=False, report=True).values():
        assert metric.definition and metric.definition in page.text


def test_the_page_says_what_it_was_made_from(reported):
    page, _, results = reported("as_is")
    (card,) = results["cards"]
    for fact in (card["weights_sha256"], "1 x cpu (cpu), 1 process", *map(" ".join, results["versions"].items())):
        assert fact in page.text
    assert {"python", "jax", "lfm_jax"} <= results["versions"].keys()


def test_large_images_do_not_make_a_large_page(tiny_detector, noise, tmp_path):
    """Noise compresses worst. Its `strength` makes the images mistakes: the detector calls strong noise fake."""
    root = tmp_path / "root"
    for label, strength in (("0_real", 255), ("1_fake", 20)):
        (root / "gan" / label).mkdir(parents=True)
        noise(900, 1200, strength=strength).save(root / "gan" / label / "0.png", compress_level=1)
    source = open_folder(root)
    write_files(evaluate_network(tiny_detector, source, ["native"]), [tiny_detector], source, tmp_path / "out")
    page = Page((tmp_path / "out/report.html").read_text())
    pictures = [len(values["src"]) for tag, values in page.tags if tag == "img"]
    assert len(pictures) == 4  # a mistake of each label, each with its evidence
    assert max(pictures) <= 4 / 3 * gallery.MAX_BYTES + 40
    assert (tmp_path / "out/report.html").stat().st_size < 200_000
