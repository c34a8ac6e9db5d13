"""report.html as headless Chromium shows it, as wide as a desktop screen and as narrow as a telephone."""

import html
import json
import re
import subprocess

import pytest

from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.evaluate import evaluate_network
from lfm_jax.evaluation.metrics import METRICS
from lfm_jax.report.files import write_files
from tests.helpers.chromium import NAMES, program

VIEWS = ["as_is", "fakes_q96", "all_q96", "all_q90", "all_q50", "all_blur1"]
WIDTHS = (390, 1280)  # px; a window cannot be as narrow as a telephone, a frame in it can
# The page is inspected from outside, because it lets no script run in it. Folded parts are opened first.
OUTSIDE = """<!doctype html><body><script>
const seen = {};
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `border: 0; height: 900px; width: ${width}px`;
  frame.src = "report.html";
  frame.onload = () => {
    const page = frame.contentDocument;
    const folded = [...page.querySelectorAll("[data-metric]")].filter(cell => !cell.checkVisibility()).length;
    page.querySelectorAll("details").forEach(details => details.open = true);
    seen[width] = {
      folded,
      inner: page.documentElement.clientWidth,
      needed: page.documentElement.scrollWidth,
      boxes: [...page.querySelectorAll(".wide")].map(box => [box.clientWidth, box.scrollWidth]),
      pictures: [...page.images].map(image => image.naturalWidth),
      numbers: [...page.querySelectorAll("[data-metric]")].map(cell => {
        const row = cell.closest("[data-row], [data-weighted]"), number = cell.querySelector("span") || cell;
        return {...row.dataset, ...cell.dataset, text: number.innerText, shown: number.checkVisibility()};
      }),
    };
    if (Object.keys(seen).length == WIDTHS.length) document.body.textContent = "<seen>" + JSON.stringify(seen) + "</seen>";
  };
  document.body.append(frame);
}
</script></body>"""


@pytest.fixture(scope="module")
def chromium():
    """Chromium's path."""
    path = program()
    if path is None:
        pytest.skip(f"no Chromium on this machine to open the report with: looked for {', '.join(NAMES)}")
    return path


@pytest.fixture(scope="module")
def opened(chromium, tiny_detector, labelled_folder, tmp_path_factory):
    """What Chromium saw of a report in frames of WIDTHS, what it complained about, and results.json."""
    out = tmp_path_factory.mktemp("opened")
    source = open_folder(labelled_folder)
    write_files(
        evaluate_network(tiny_detector, source, ["native"], views=VIEWS), [tiny_detector], source, out, data_sha256="ab" * 32
    )
    (out / "outside.html").write_text(OUTSIDE.replace("WIDTHS", json.dumps(WIDTHS)))
    options = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={out / 'profile'}"),
        *("--allow-file-access-from-files", "--window-size=1800,1000", "--virtual-time-budget=10000", "--dump-dom"),
    ]
    page = f"file://{out / 'outside.html'}"
    ran = subprocess.run([chromium, *options, page], capture_output=True, text=True, timeout=120, check=True)
    seen = re.search("<seen>(.*)</seen>", html.unescape(ran.stdout), re.DOTALL)
    assert seen, ran.stderr[-2000:]
    complaints = [line for line in ran.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(seen[1]), complaints, json.loads((out / "results.json").read_text())


@pytest.mark.parametrize("width", WIDTHS)
def test_every_number_on_the_screen_is_that_of_results_json(opened, width):
    seen, _, results = opened
    numbers = seen[str(width)]["numbers"]
    for number in numbers:
        weighted = "weighted" in number
        row = results["rows"][int(number["weighted"] if weighted else number["row"])]
        assert number["shown"]
        value = (row["weighted"] if weighted else row)[number["metric"]]
        assert number["text"] == METRICS[number["metric"]]().text(value)
    assert {int(number["row"]) for number in numbers if "row" in number} == set(range(len(results["rows"])))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_as_wide_as_the_screen_and_wide_tables_scroll_in_their_boxes(opened, width):
    seen = opened[0][str(width)]
    assert seen["needed"] <= seen["inner"] <= width
    assert all(shown <= width for shown, _ in seen["boxes"])
    if width == min(WIDTHS):
        assert any(shown < whole for shown, whole in seen["boxes"])


def test_the_grid_is_folded_until_it_is_asked_for(opened):
    seen, _, results = opened
    grid = sum(row["view"] in VIEWS[3:] for row in results["rows"])
    assert seen["1280"]["folded"] >= grid


def test_its_pictures_load_and_it_requests_nothing_that_its_policy_forbids(opened):
    seen, complaints, _ = opened
    assert len(seen["390"]["pictures"]) >= 2 and all(seen["390"]["pictures"])
    assert complaints == []
