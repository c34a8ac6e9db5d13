"""The two colours of every picture, table and page, fake and real, which colour-blind people can tell apart too."""

FAKE, REAL = (202, 0, 32), (5, 113, 176)  # RGB


def css(colour: tuple[int, int, int]) -> str:
    """(202, 0, 32) -> "#ca0020", for pages and matplotlib."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
