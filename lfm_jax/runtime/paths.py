"""Paths as people write them, and files that are there whole or not at all."""

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path that was meant: with `~` and `~user` as home folders, and without quotes that a shell left around it."""
    text = os.fspath(path)
    if os.path.lexists(text):  # a file may be called that
        return Path(text)
    if len(text) > 2 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: the name is left as it is
        return Path(text)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that an interruption leaves the old one or the new one, never a part."""
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)
