"""Paths as people write them, and files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 150  # bytes of a file's name that its partial one repeats, as most file systems allow 255


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


@contextmanager
def replacing(path: Path, *, several_writers: bool = False) -> Iterator[Path]:
    """Gives the path of a hidden file beside `path` to write to, which takes the place of `path` once it is whole.

    Where writing fails, as on a full disk or by an interrupt, an older file stays as it was and nothing is left beside it. Where
    the process is killed, what it had written stays beside it until the file is written again.

    Args:
      several_writers: processes, also on other machines, may write this file at the same time; the last to finish wins.
    """
    partial = _own_partial(path) if several_writers else path.with_name(f".{_shortened(path)}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _own_partial(path: Path) -> Path:
    """A hidden file beside `path` for this process alone; those of processes of this machine that were killed are removed."""
    of_this_machine = f".{_shortened(path)}.{os.uname().nodename[: LONGEST // 3]}."
    _remove_abandoned(path.parent, of_this_machine)
    return path.with_name(f"{of_this_machine}{os.getpid()}.part")


def _shortened(path: Path) -> str:
    return os.fsdecode(os.fsencode(path.name)[:LONGEST])


def _remove_abandoned(folder: Path, beginning: str) -> None:
    """Removes what processes of this machine that were killed had written, to files called BEGINNING PID.part."""
    for partial in folder.iterdir():
        pid = partial.name.removeprefix(beginning).removesuffix(".part")
        if partial.name != f"{beginning}{pid}.part" or not pid.isdecimal():
            continue
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            partial.unlink(missing_ok=True)
        except PermissionError:  # it lives
            continue


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that an interruption or a full disk leaves the old one or the new one, never a part."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_new(path: Path, content: bytes) -> bool:
    """Writes a file unless there is one, and tells whether it did. Of several processes that try at once, one does.

    No process ever reads half of it. Where writing fails or is interrupted, nothing is left behind.
    """
    own = _own_partial(path)
    try:
        own.write_bytes(content)
        os.link(own, path)  # unlike a rename, this fails where there is a file
    except FileExistsError:
        return False
    finally:
        own.unlink(missing_ok=True)
    return True
