"""One palette: style sheets and scripts, which cannot import it, use its values; and colour-blind readers can tell it apart."""

import re
from pathlib import Path

import numpy as np
import pytest

from lfm_jax.runtime import palette

REPOSITORY = Path(__file__).parents[2]
SHEETS = {"report": REPOSITORY / "lfm_jax/report/page.css", "web": REPOSITORY / "web/page.css"}
LIGHT = {"fake": palette.FAKE, "real": palette.REAL, "first": palette.FIRST, "second": palette.SECOND}
DARK = {
    "fake": palette.FAKE_ON_DARK,
    "real": palette.REAL_ON_DARK,
    "first": palette.FIRST_ON_DARK,
    "second": palette.SECOND_ON_DARK,
}


@pytest.mark.parametrize("sheet", SHEETS)
def test_style_sheets_use_the_palette(sheet):
    text = SHEETS[sheet].read_text()
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", text, re.DOTALL)[:2])
    for colours, expected in ((light, LIGHT), (dark, DARK)):
        for name in ("fake", "real"):
            assert colours[name] == palette.css(expected[name])
        for name in ("first", "second"):
            assert sheet == "web" or colours[name] == palette.css(expected[name])


def test_the_scales_under_a_reports_pictures_have_the_pictures_colours():
    ramp = re.search(r"\.ramp .*linear-gradient\(to right, (#\w{6}), \S+, (#\w{6})\)", SHEETS["report"].read_text())
    assert ramp.groups() == (palette.css(palette.REAL), palette.css(palette.FAKE))


def test_the_web_page_draws_and_shows_the_palette():
    source = (REPOSITORY / "web/src/evidence.ts").read_text()
    for name in ("FAKE", "REAL"):
        (values,) = re.findall(rf"const {name} = \[(.*?)\]", source)
        assert tuple(map(int, values.split(","))) == getattr(palette, name)
    icon = (REPOSITORY / "web/icon.svg").read_text()
    assert set(re.findall(r"#\w{6}", icon)) == {palette.css(colour) for colour in (palette.GREY, palette.FAKE, palette.REAL)}


# Viénot, Brettel and Mollon, 1999: linear RGB as readers without the long- or middle-wave cones see it.
BLINDNESS = {
    "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def lab(colour, matrix):
    """CIELAB of an sRGB colour as seen through `matrix`."""
    share = np.array(colour) / 255
    linear = np.clip(np.array(matrix) @ np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4), 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(xyz / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", ["none", *BLINDNESS])
@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_that_stand_for_opposites_are_told_apart(blindness, scheme):
    """By 20 in CIELAB, many times what an eye can just tell."""
    matrix = BLINDNESS.get(blindness, np.eye(3))
    for pair in (("fake", "real"), ("first", "second")):
        one, other = (lab(scheme[name], matrix) for name in pair)
        assert np.linalg.norm(one - other) > 20, pair
