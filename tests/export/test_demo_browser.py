"""The page of `lfm demo` in headless Chromium: it shows what Python computes, and sends nothing anywhere.

Building it needs npm and its packages; without them these tests are skipped.
"""

import base64
import contextlib
import csv
import dataclasses
import io
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import lfm_jax
from lfm_jax import models
from lfm_jax.data import protocols
from lfm_jax.data.images import decode
from lfm_jax.export import demo
from lfm_jax.inference import drawing
from lfm_jax.inference.evidence import evidence_map
from lfm_jax.inference.records import COLUMNS
from lfm_jax.weights import io as weights_io
from lfm_jax.weights.operating_range import Counts, OperatingRange
from tests.helpers.chromium import Chromium, program

WEB = Path(__file__).resolve().parents[2] / "web"
TOLERANCE = 1e-3
EVIDENCE = """(() => {
  const item = [...document.querySelectorAll("#results li")].find(item => item.querySelector("h3").textContent == NAME);
  const rows = [...item.querySelectorAll("tbody tr")].map(row => [...row.cells].slice(0, 2).map(cell => Number(cell.textContent)));
  const values = [...item.querySelectorAll("data")].map(data => Number(data.value));
  return [item.querySelectorAll("canvas")[1].toDataURL(), rows.map((row, index) => [...row, values[index]])];
})()"""
PICTURE = """new Promise(done => {
  const picture = new Image();
  [picture.onload, picture.onerror] = [() => done("answered"), () => done("refused")];
  picture.src = "ADDRESS";
})"""
# Started as the page starts its own.
WORKER = """new Promise(done => {
  const script = new Blob(["fetch('ADDRESS').then(() => postMessage('answered'), () => postMessage('refused'))"]);
  new Worker(URL.createObjectURL(script)).onmessage = ({data}) => done(data);
})"""
PASTE = """(() => {
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File(["no image"], "pasted.png"));
  document.dispatchEvent(new ClipboardEvent("paste", {clipboardData}));
})()"""
# What some browsers do to every page: they change pixels by a level here and there. The worker is made from a Blob of its script.
ALTERING = """{
  const alter = `
    const readers = [[WebGL2RenderingContext, "readPixels"], [OffscreenCanvasRenderingContext2D, "getImageData"]];
    for (const [{prototype}, read] of readers) {
      const plain = prototype[read];
      prototype[read] = function (...options) {
        const image = plain.apply(this, options);
        (image ? image.data : options.at(-1))[4] ^= 1;
        return image;
      };
    }`;
  window.Blob = class extends Blob {
    constructor(parts, options) { super(options?.type == "text/javascript" ? [alter, ...parts] : parts, options); }
  };
}"""


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory):
    """The page, built from its sources."""
    if not program() or not shutil.which("npm"):
        pytest.skip("the page takes npm to build and Chromium to open; one of them is not on this machine")
    source, out = tmp_path_factory.mktemp("web") / "web", tmp_path_factory.mktemp("built") / "page"
    shutil.copytree(WEB, source, ignore=shutil.ignore_patterns("node_modules"))
    installed = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=source, capture_output=True, text=True)
    if installed.returncode and not os.environ.get("CI"):
        pytest.skip(f"npm ci could not get the page's packages: {installed.stderr[-300:]}")
    assert installed.returncode == 0, installed.stderr
    subprocess.run(["npm", "run", "build", "--", str(out)], cwd=source, check=True)
    return out


@pytest.fixture(scope="module")
def images(tmp_path_factory, noise):
    """PNGs of every kind that a user may have."""
    folder = tmp_path_factory.mktemp("images")
    large = noise(301, 263, seed=1, strength=120)  # odd sides; the crop's corner falls on 3.5 and 22.5
    clear = noise(301, 263, seed=2).convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6
    noise(64, 64, strength=20).save(folder / "faint.png")
    large.save(folder / "large, odd.png")
    large.transpose(Image.Transpose.ROTATE_90).save(folder / "wide.png")
    Image.merge("RGBA", (*large.split(), clear)).save(folder / "clear.png")
    large.quantize(64).save(folder / "palette.png", transparency=3)
    large.convert("L").save(folder / "grey.png")
    large.save(folder / "turned.png", exif=turned)
    return folder


@pytest.fixture(scope="module")
def others(images, tmp_path_factory):
    """Files that cannot be scored, and a JPEG with an EXIF orientation."""
    folder = tmp_path_factory.mktemp("others")
    whole = (images / "grey.png").read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "notes.png").write_text("no image")
    Image.new("RGB", (31, 20)).save(folder / "tiny.png")
    with Image.open(images / "turned.png") as image:
        image.save(folder / "turned.jpg", exif=image.getexif())
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory, noise):
    """Files about which the operating range, or the picture itself, says something."""
    folder = tmp_path_factory.mktemp("saved")
    faint = noise(200, 300, strength=20)
    for quality in (50, 83, 100):
        faint.save(folder / f"q{quality}.jpg", quality=quality)
    faint.save(folder / "lossy.webp", quality=90)
    faint.save(folder / "lossless.webp", lossless=True)
    noise(56, 60, strength=20).save(folder / "small.png")
    Image.new("RGB", (300, 300), "white").save(folder / "white.png")
    Image.fromarray(np.tile(np.asarray(noise(200, 300, strength=20)), (12, 10, 1))).save(folder / "large.png")
    return folder


@pytest.fixture(scope="module")
def weights(weights_file):
    """The tiny detector with an operating range: blind to JPEG of one band, and accusing many in lossy WebP."""
    sees, blind, accuses = (100, 90, 100, 1), (100, 0, 100, 0), (100, 90, 100, 60)
    cells = (
        Counts("lossless", "", "", *sees),
        Counts("lossless", "", "128 to 255", *sees),
        Counts("JPEG", "70 to 84", "", *blind),
        Counts("JPEG", "95 to 100", "128 to 255", *sees),
        Counts("WebP", "", "", *accuses),
    )
    ranges = {"crop256": OperatingRange("crop256", 0.0, 61, 1000, cells).to_values()}
    loaded = weights_io.load(weights_file)
    return loaded._replace(card=dataclasses.replace(loaded.card, operating_range=ranges))


@contextlib.contextmanager
def opened(page_folder, weights, profile):
    """Chromium, with the served page of some weights loaded and ready."""
    with pytest.MonkeyPatch.context() as patch, Chromium(profile) as chromium:
        patch.setattr(demo, "PAGE", page_folder)
        with demo.serve(demo.page(weights), "127.0.0.1", 0) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            chromium.call("Page.navigate", url=f"http://127.0.0.1:{server.server_port}/")
            chromium.wait("document.querySelector('#status')?.textContent == 'Ready.'")
            yield chromium
            server.shutdown()


def dropped(browser, files, folder, *, failures):
    """Files dropped on the page at once -> the row of its CSV for each."""
    files = sorted(map(str, files))
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.call(
            "Input.dispatchDragEvent", type=kind, x=200, y=200, data={"items": [], "files": files, "dragOperationsMask": 1}
        )
    told = f"{len(files) - failures} scored, {failures} not." if failures else f"{len(files)} scored."
    browser.wait(f"document.querySelector('#status').textContent == '{told}'")
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder), eventsEnabled=True)
    browser.run("document.querySelector('#csv').click()")
    browser.heard("Browser.downloadProgress", state="completed")
    with (folder / "scores.csv").open(newline="") as file:
        assert (*next(csv.reader(file)), "provenance") == COLUMNS  # which the page does not read
        file.seek(0)
        return {row["path"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def browser(page_folder, weights, tmp_path_factory):
    with opened(page_folder, weights, tmp_path_factory.mktemp("profile")) as chromium:
        yield chromium


@pytest.fixture(scope="module")
def table(browser, images, others, saved, tmp_path_factory):
    """All files -> the row of the page's CSV for each."""
    files = [*images.iterdir(), *others.iterdir(), *saved.iterdir()]
    return dropped(browser, files, tmp_path_factory.mktemp("downloads"), failures=4)


@pytest.fixture(scope="module")
def detector(weights):
    return lfm_jax.Detector(models.build(weights.card.model_config()), weights.variables, weights.card)


def test_the_weights_in_the_package_give_the_page_the_logits_they_give_python(page_folder, images, tmp_path):
    files, shipped = sorted(images.iterdir()), lfm_jax.load()
    with opened(page_folder, weights_io.load(None), tmp_path / "profile") as browser:
        rows = dropped(browser, files, tmp_path, failures=0)
    for file in files:
        expected = shipped(file)
        assert float(rows[file.name]["logit"]) == pytest.approx(expected.logit, abs=TOLERANCE)
        assert rows[file.name]["verdict"] == expected.verdict


def test_every_file_gets_the_answer_that_python_gives_it_with_the_same_reasons(table, images, saved, detector):
    files = [*images.iterdir(), *saved.iterdir()]
    for file in files:
        expected, row = detector(file), table[file.name]
        assert row["reasons"] == " ".join(expected.reasons), file.name
        for column in ("verdict", "why", "format"):
            assert row[column] == getattr(expected, column), (file.name, column)
        assert float(row["share"]) == pytest.approx(expected.share)
    assert {table[file.name]["why"] for file in saved.iterdir()} >= {
        "blind to JPEG",
        "smaller than measured",
        "flat",
        "0.9 % looked at",
    }
    assert table["q100.jpg"]["verdict"] == "no trace found"


def test_pngs_get_the_logits_that_python_gives_them(table, images, detector):
    for file in images.iterdir():
        row, expected = table[file.name], detector(file)
        assert abs(float(row["logit"]) - expected.logit) <= TOLERANCE, file.name
        assert abs(float(row["score"]) - expected.score) <= TOLERANCE
        for column in ("label", "threshold", "protocol", "width", "height"):
            assert row[column] == str(getattr(expected, column)), (file.name, column)


def test_files_that_cannot_be_scored_are_named_with_the_reason(table, browser):
    reasons = {"half.png": "damaged", "notes.png": "not an image", "empty.png": "0 bytes", "tiny.png": "20 px is too small"}
    shown = browser.run("document.querySelector('#results').innerText")
    for name, reason in reasons.items():
        assert reason in table[name]["error"] and not table[name]["logit"]
        assert f"Not scored: {table[name]['error']}" in shown


def test_a_photograph_is_scored_as_stored_whatever_its_exif_orientation(table):
    assert (table["turned.jpg"]["width"], table["turned.jpg"]["height"]) == ("263", "301")


def test_the_evidence_is_drawn_as_python_draws_it(table, browser, images, detector):
    for file in images.iterdir():
        pixels = protocols.parse("crop256")(decode(file))[0]
        evidence = evidence_map(detector, pixels)
        left, top = protocols.parse("crop256").corners(int(table[file.name]["width"]), int(table[file.name]["height"]))[0]
        picture, rows = browser.run(EVIDENCE.replace("NAME", json.dumps(file.name)))
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.split(",")[1]))).convert("RGB"), np.int16)
        assert np.abs(drawn - np.asarray(drawing.overlay(detector.model, pixels, evidence), np.int16)).max() <= 1, file.name
        stride = detector.model.backbone.stride
        assert rows
        for x, y, value in rows:
            assert abs(value - evidence[(y - top) // stride, (x - left) // stride]) <= TOLERANCE


def test_no_request_leaves_the_origin_and_none_is_possible_once_images_are_read(table, browser):
    asked = [params["request"]["url"] for method, params in browser.events if method == "Network.requestWillBeSent"]
    here = browser.run("location.origin")
    assert f"{here}/model.onnx" in asked
    assert {urlsplit(url).netloc for url in asked if not url.startswith(("blob:", "data:"))} == {urlsplit(here).netloc}
    assert not [params for method, params in browser.events if method == "Runtime.exceptionThrown"]
    assert not [params for method, params in browser.events if method == "Log.entryAdded" and params["entry"]["level"] == "error"]
    for attempt in ("fetch('ADDRESS').then(() => 'answered', () => 'refused')", PICTURE, WORKER):
        assert browser.run(attempt.replace("ADDRESS", f"{here}/icon.svg")) == "refused"  # a file that the server has


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_screen(table, browser, width):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_it_can_be_used_with_a_keyboard_and_a_screen_reader(table, browser):
    browser.run("document.activeElement.blur()")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert browser.run("document.activeElement.id") == "files"
    nodes = [node for node in browser.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes}
    for role in ("button", "image", "DisclosureTriangle"):
        assert any(kind == role for kind, _ in named)
    assert not [node for node in named if node[0] in ("button", "image", "DisclosureTriangle", "progressbar") and not node[1]]
    assert any(role == "button" and "Choose images" in name for role, name in named)


def test_files_from_the_picker_and_the_clipboard_are_scored_too(table, browser, images):
    browser.choose("#files", [images / "grey.png"])
    browser.wait("document.querySelector('#status').textContent == '17 scored, 4 not.'")
    browser.run(PASTE)
    browser.wait("document.querySelector('#status').textContent == '17 scored, 5 not.'")


def test_a_user_whose_browser_alters_pixels_is_told_so(table, browser):
    browser.call("Page.addScriptToEvaluateOnNewDocument", source=ALTERING)
    browser.call("Page.reload")
    assert "alters the pixels" in browser.wait(
        "/could not be loaded/.test(document.querySelector('#status')?.textContent)"
        " && document.querySelector('#status').textContent"
    )
