"""Folders in buckets, gs://BUCKET/FOLDER, where the path of a folder or of weights may be given.

Checkpoints are read and written there by orbax itself. Every other file goes through a `Mirror`: libraries write
to a folder of this machine, which is the bucket's local side. For a path that is no bucket's the two are one.
"""

import importlib.util
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeAlias

import fsspec.config
from etils import epath

from lfm_jax.errors import UserError, first_line

os.environ.setdefault("EPATH_USE_TF", "false")  # where TensorFlow is installed, epath would load it to reach a bucket

AnyPath: TypeAlias = Path | epath.Path  # of this machine, or of a bucket


def as_path(path: str | os.PathLike[str]) -> AnyPath:
    """ "gs://BUCKET/..." -> epath.Path, once the bucket was seen; anything else -> pathlib.Path, `~` expanded.

    Raises:
      UserError: another kind of bucket, or gcsfs is not installed.
      OSError: the bucket cannot be reached.
    """
    text = os.fspath(path)
    if "://" not in text:
        return Path(text).expanduser()
    bucket = text.removeprefix("gs://").partition("/")[0]
    if not text.startswith("gs://") or not bucket:
        raise UserError(f"{text}: expected a folder or gs://BUCKET/FOLDER; mount other buckets and give the folder")
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{text}: a bucket needs gcsfs: pip install 'lfm_jax[gcs]'")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it raises
    # Other processes and TensorStore write to the bucket as well: a listing kept from earlier would be wrong.
    fsspec.config.conf.setdefault("gs", {})["use_listings_cache"] = False
    root = epath.Path(f"gs://{bucket}")
    with _reaching(root):
        if not root.exists():
            raise FileNotFoundError("no such bucket")
    return epath.Path(text)


class Mirror:
    """The local side of `path`. `folder`: where to write what `push` brings to the bucket; `path` itself if it is of this machine.

    Use as a context manager to push at the end, whatever that end is.
    """

    def __init__(self, path: AnyPath):
        self._bucket: epath.Path | None = None
        if isinstance(path, Path):
            self.folder = path
        else:
            self._bucket = path
            self._temporary = tempfile.TemporaryDirectory(prefix="lfm-")  # lives as long as this object
            self.folder = Path(self._temporary.name)
        self._pushed: dict[Path, tuple[int, int]] = {}  # file: its time and size then
        self._pushed_at = time.monotonic()

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        with nullcontext() if kind is None else suppress(OSError):  # the error under way says more
            self.push()

    def pull(self, *names: str) -> None:
        """Bring these files and folders of files from the bucket, those that are there."""
        if self._bucket is None:
            return
        for name in names:
            source = self._bucket / name
            with _reaching(source):
                files = source.iterdir() if source.is_dir() else [source] if source.exists() else []
                for file in files:
                    here = self.folder / file.relative_to(self._bucket)
                    here.parent.mkdir(parents=True, exist_ok=True)
                    here.write_bytes(file.read_bytes())

    def push(self, *, at_most_every: float = 0.0) -> None:
        """Bring files that are new or have changed to the bucket, unless the last time was less than so many seconds ago."""
        if self._bucket is None or time.monotonic() - self._pushed_at < at_most_every:
            return
        for file in sorted(file for file in self.folder.rglob("*") if file.is_file()):
            version = file.stat().st_mtime_ns, file.stat().st_size
            if self._pushed.get(file) != version:
                target = self._bucket / file.relative_to(self.folder).as_posix()
                with _reaching(target):
                    target.write_bytes(file.read_bytes())
                self._pushed[file] = version
        self._pushed_at = time.monotonic()


@contextmanager
def _reaching(path: epath.Path) -> Iterator[None]:
    """The libraries below raise many kinds of errors; each becomes an OSError that names the object."""
    try:
        yield
    except Exception as error:
        raise OSError(f"{path} cannot be reached: {first_line(error)}") from error
