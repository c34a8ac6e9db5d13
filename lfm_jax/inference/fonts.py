"""A font for any file name in a picture: the one that comes with matplotlib, or one of this machine that has the characters."""

import functools
from collections.abc import Iterator

# Parts of the names of fonts with Chinese, Japanese and Korean characters, as systems and browsers bring them.
WIDE_FONTS = (
    "cjk",
    "wenquanyi",
    "wqy",
    "hei",
    "song",
    "ming",
    "gothic",
    "hiragino",
    "pingfang",
    "malgun",
    "nanum",
    "unifont",
    "unicode",
)


def font_for(text: str) -> tuple[str, str]:
    """The file of a font that can draw the text, and the text.

    Where no font of this machine has all of its characters, those that the usual font lacks are escaped (\\u56fe).
    """
    for file in _fonts():
        if all(ord(character) in _characters(file) for character in text):
            return file, text
    usual = next(_fonts())
    known = _characters(usual)
    return usual, "".join(one if ord(one) in known else one.encode("ascii", "backslashreplace").decode() for one in text)


def _fonts() -> Iterator[str]:
    from matplotlib import font_manager  # here, as it takes a while to load

    yield font_manager.findfont("DejaVu Sans")
    yield from _wide_fonts()


@functools.cache
def _wide_fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    listed = font_manager.fontManager.ttflist
    files = {font.fname: None for font in listed if any(part in font.name.casefold() for part in WIDE_FONTS)}
    return tuple(files)


@functools.cache
def _characters(file: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(file).get_charmap())
