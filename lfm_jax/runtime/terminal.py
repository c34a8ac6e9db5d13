"""Text for a terminal: names that come from elsewhere may hold control characters, or characters it cannot show."""

import codecs
import re

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
FILE_NAMES = "lfm_jax.file_names"  # for `open(errors=FILE_NAMES)`: any name can be written in any encoding


def printable(text: str) -> str:
    r"""Text on one line, with control characters as \x1b, \r and so on: they could move the cursor or retitle the terminal."""
    return CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def printable_lines(text: str) -> str:
    """`printable` for a message of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def _as_far_as_possible(error: UnicodeError) -> tuple[bytes, int]:
    """What an encoding cannot hold: bytes of a file name as they were, any other character as \\U0001f600."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = [
        bytes([ord(char) - 0xDC00]) if 0xDC80 <= ord(char) <= 0xDCFF else char.encode("ascii", "backslashreplace")
        for char in error.object[error.start : error.end]
    ]
    return b"".join(parts), error.end


codecs.register_error(FILE_NAMES, _as_far_as_possible)
