"""The colours of every picture, table and page, chosen so that colour-blind readers can tell them apart.

Red and blue mean fake and real and nothing else; teal and amber are for everything that comes in twos. Style sheets cannot
import them: a test compares page.css, web/page.css and web/src/evidence.ts with these values.
"""

Colour = tuple[int, int, int]  # RGB

FAKE: Colour = (202, 0, 32)  # red
REAL: Colour = (5, 113, 176)  # blue
TEAL: Colour = (15, 118, 110)
AMBER: Colour = (180, 83, 9)
GREY: Colour = (92, 99, 112)
CORRECT, WRONG = TEAL, AMBER  # an image that was called correctly, or not
FIRST, SECOND = TEAL, AMBER  # two curves of one chart
# The same on dark pages.
FAKE_ON_DARK: Colour = (255, 123, 114)
REAL_ON_DARK: Colour = (108, 182, 240)
FIRST_ON_DARK: Colour = (79, 209, 197)
SECOND_ON_DARK: Colour = (240, 179, 85)


def css(colour: Colour) -> str:
    """(202, 0, 32) -> "#ca0020", for pages and matplotlib."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
