"""Explanations in an image's own pixels: exact sums, true boxes under every protocol, and files that lose nothing."""

import json

import numpy as np
import pytest
from PIL import Image

from lfm_jax.data import protocols
from lfm_jax.inference import drawing, fonts
from tests.helpers.networks import run

PROTOCOLS = ["native", "crop48", "crop96_pad", "resize64", "resize80_crop64", "tiles48", "tiles48_stride24_top40"]
WIDTH, HEIGHT = 131, 83


@pytest.fixture(scope="module")
def image(noise):
    return noise(HEIGHT, WIDTH, strength=90)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bias_and_locations_add_up_to_the_logit_that_is_predicted(tiny_detector, image, protocol):
    explanation = tiny_detector.explain(image, protocol=protocol)
    assert explanation.prediction == tiny_detector(image, protocol=protocol)
    evidence = [location.evidence for location in explanation.locations]
    assert explanation.bias + sum(evidence) == pytest.approx(explanation.prediction.logit, abs=1e-3)
    assert sum(entry.evidence for entry in explanation.entries) == pytest.approx(sum(evidence))
    assert evidence == sorted(evidence, key=abs, reverse=True)
    assert (explanation.heat.shape, explanation.overlay().size) == ((HEIGHT, WIDTH), (WIDTH, HEIGHT))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pixels_outside_a_box_change_none_of_its_values_and_pixels_inside_do(tiny_detector, image, protocol):
    parsed, pixels = protocols.parse(protocol), np.asarray(image)
    other = 255 - pixels
    variables = {name: tiny_detector.variables[name] for name in ("params", "batch_stats")}

    def maps_at(location, changed):
        piece = parsed(Image.fromarray(changed))[location.tile]
        return np.asarray(run(tiny_detector.model, variables, piece[None]).maps)[0, location.row, location.col]

    for location in tiny_detector.explain(image, protocol=protocol).strongest(4):
        x0, y0, x1, y1 = location.box
        outside, inside = other.copy(), pixels.copy()
        outside[y0:y1, x0:x1], inside[y0:y1, x0:x1] = pixels[y0:y1, x0:x1], other[y0:y1, x0:x1]
        np.testing.assert_array_equal(maps_at(location, outside), maps_at(location, pixels))
        assert not np.array_equal(maps_at(location, inside), maps_at(location, pixels))


def test_a_small_overlay_shows_the_same_evidence_at_the_same_places(tiny_detector, noise):
    explanation = tiny_detector.explain(noise(400, 640, strength=90), protocol="tiles48")
    small = explanation.overlay(side=160)
    large = explanation.overlay().resize(small.size, Image.Resampling.BOX)
    assert small.size == (160, 100)
    assert explanation.overlay(side=1000).size == (640, 400)
    redness = [np.asarray(picture, np.float32) @ [1, 0, -1] for picture in (small, large)]
    assert np.corrcoef(redness[0].ravel(), redness[1].ravel())[0, 1] > 0.8  # frames are thinner in the large one


def test_a_thumbnail_frames_what_was_looked_at(tiny_detector, noise):
    image = noise(400, 640, strength=90)
    thumbnail = np.asarray(tiny_detector.explain(image, protocol="crop320").thumbnail(160))
    amber = (thumbnail == drawing.SCORED).all(-1)
    rows, columns = np.nonzero(amber)
    assert thumbnail.shape == (100, 160, 3)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == pytest.approx((40, 10, 120, 90), abs=3)
    whole = np.asarray(tiny_detector.explain(image, protocol="native").thumbnail(160))
    assert not (whole == drawing.SCORED).all(-1).any()


def test_without_resizing_a_box_is_the_networks_window(tiny_detector, image):
    backbone = tiny_detector.model.backbone
    for location in tiny_detector.explain(image, protocol="crop64").locations:
        left, top = (
            (WIDTH - 64) // 2 + 1 + backbone.stride * location.col,
            round((HEIGHT - 64) / 2) + backbone.stride * location.row,
        )
        assert location.box == (left, top, left + backbone.window, top + backbone.window)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_heat_is_painted_within_the_boxes(tiny_detector, image, protocol):
    explanation = tiny_detector.explain(image, protocol=protocol)
    seen = np.zeros((HEIGHT, WIDTH), bool)
    for location in explanation.locations:
        x0, y0, x1, y1 = location.box
        seen[y0:y1, x0:x1] = True
    assert np.any(explanation.heat) and not np.any(explanation.heat[~seen])


def test_a_notebook_shows_a_picture(tiny_detector, image):
    assert tiny_detector.explain(image)._repr_png_().startswith(b"\x89PNG")


def test_each_image_of_a_folder_gets_two_files_all_share_a_sheet_and_broken_ones_are_named(lfm, noise, weights_file, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    noise(64, 64).save(folder / "a.png")
    noise(64, 70).save(folder / "a.bmp")
    noise(90, 64).save(folder / "sub" / "ü.png")
    (folder / "broken.png").write_bytes(b"no image")
    noise(20, 20).save(folder / "small.png")
    ran = lfm("explain", folder, "--weights", weights_file, "--out", out, "--entries")
    assert ran.status == 3
    assert "broken.png: not an image file" in ran.err and "small.png: 20 x 20 px is too small" in ran.err
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == ["a.json", "a.png", "a.png.json", "a.png.png", "contact_sheet.png", "sub/ü.json", "sub/ü.png"]
    facts = json.loads((out / "sub" / "ü.json").read_text())
    assert facts["verdict"] == "trace found" and facts["reasons"]
    assert facts["logit"] == pytest.approx(facts["bias"] + sum(location["evidence"] for location in facts["locations"]), abs=1e-3)
    assert facts["path"] == str(folder / "sub" / "ü.png") and (facts["width"], facts["height"]) == (64, 90)
    assert len(facts["entries"]) == 16 and {"map", "rank", "value", "weight"} < facts["entries"][0].keys()


def test_no_image_is_overwritten(lfm, noise, weights_file, tmp_path):
    noise(64, 64).save(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    ran = lfm("explain", tmp_path / "a.png", "--weights", weights_file, "--out", tmp_path)
    assert ran.status == 2 and "written over the image itself" in ran.err
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    ("protocol", "box"),
    [
        ("native", (0, 0, WIDTH, HEIGHT)),
        ("resize64", (0, 0, WIDTH, HEIGHT)),
        ("crop48", (42, 18, 90, 66)),
        ("crop96_pad", (18, 0, 114, HEIGHT)),
        ("tiles48", (16, 16, 112, 64)),
    ],
)
def test_the_scored_part_is_what_the_protocol_looks_at(tiny_detector, image, protocol, box):
    assert tiny_detector.explain(image, protocol=protocol).scored == box


def test_a_residual_is_drawn_bright_enough_to_be_seen_and_says_how_much(noise):
    for strength in (1, 8, 255):
        picture, gain = drawing.residual(noise(64, 64, strength=strength))
        assert np.asarray(picture).max() >= 64
        assert (gain > 1) == (strength < 255)


def test_a_name_that_no_font_has_is_escaped_and_one_that_a_font_has_is_drawn(monkeypatch):
    monkeypatch.setattr(fonts, "_wide_fonts", lambda: ())
    usual, name = fonts.font_for("\u0444\u043e\u0442\u043e.png")
    assert name == "\u0444\u043e\u0442\u043e.png"
    assert fonts.font_for("\u56fe.png") == (usual, "\\u56fe.png")
    monkeypatch.setattr(fonts, "_wide_fonts", lambda: ("wide.ttc",))
    known = fonts._characters
    monkeypatch.setattr(fonts, "_characters", lambda file: {*map(ord, "\u56fe.png")} if file == "wide.ttc" else known(file))
    assert fonts.font_for("\u56fe.png") == ("wide.ttc", "\u56fe.png")
