"""Folders in storage buckets: gs://BUCKET/FOLDER may be given wherever a folder or weights are expected.

orbax itself reads and writes checkpoints there. Every other file goes through a `Mirror`: libraries write to a folder
on this machine, and the mirror copies it to the bucket. For a local path the two are the same folder.
"""

import fcntl
import importlib.util
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import fsspec
import fsspec.config
from etils import epath

from lfm_jax.errors import UserError, first_line
from lfm_jax.runtime.paths import expanded

os.environ.setdefault("EPATH_USE_TF", "false")  # or epath would load TensorFlow, where installed, to reach a bucket

log = logging.getLogger(__name__)
LOCK = ".lock"
AnyPath: TypeAlias = Path | epath.Path  # on this machine, or in a bucket


def as_path(path: str | os.PathLike[str]) -> AnyPath:
    """Make a path from text: an epath.Path for gs://BUCKET/..., otherwise a pathlib.Path with `~` expanded.

    Raises:
      UserError: this kind of bucket is not supported, or gcsfs is not installed.
      OSError: the bucket cannot be reached.
    """
    text = os.fspath(path)
    if "://" not in text:
        return expanded(text)
    bucket = text.removeprefix("gs://").partition("/")[0]
    if not text.startswith("gs://") or not bucket:
        raise UserError(f"{text}: expected a folder or gs://BUCKET/FOLDER; mount other buckets and give the folder")
    if importlib.util.find_spec("gcsfs") is None:
        raise UserError(f"{text}: a bucket needs gcsfs: pip install 'lfm_jax[gcs]'")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it logs what it also raises
    # Other processes and TensorStore write to the bucket too, so a cached listing could be out of date.
    fsspec.config.conf.setdefault("gs", {})["use_listings_cache"] = False
    root = epath.Path(f"gs://{bucket}")
    with _reaching(root):
        if not root.exists():
            raise FileNotFoundError("no such bucket")
    return epath.Path(text)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of an object in a bucket or on a server, such as gs://BUCKET/shard.tar."""
    return "://" in os.fspath(path)


def open_file(path: str) -> IO[bytes]:
    """Opens a file to be read, on this machine or wherever fsspec reaches (gs://, s3://, https:// and so on).

    Raises:
      UserError: what fsspec needs for this kind of storage is not installed; names it.
      OSError: there is no such file, or it cannot be reached.
    """
    if not is_remote(path):
        return open(expanded(path), "rb")
    try:
        return cast(IO[bytes], fsspec.open(path, "rb").open())
    except (ImportError, ValueError) as error:  # the latter for a protocol that it does not know
        raise UserError(f"{path}: {first_line(error)}") from None


class Mirror:
    """A local folder whose files are copied to a bucket.

    Write to `folder`; `push` copies what has changed to the bucket. For a path on this machine, `folder` is that path and
    nothing is copied. Use it as a context manager to push at the end, also after an error.
    """

    def __init__(self, path: AnyPath):
        self._bucket: epath.Path | None = None
        if isinstance(path, Path):
            self.folder = path
        else:
            self._bucket = path
            self._temporary = tempfile.TemporaryDirectory(prefix="lfm-")  # deleted with this object
            self.folder = Path(self._temporary.name)
        self._pushed: dict[Path, tuple[int, int]] = {}  # file: modification time and size when it was pushed
        self._pushed_at = time.monotonic()

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        with nullcontext() if kind is None else suppress(OSError):  # the error already raised says more
            self.push()

    def pull(self, *names: str) -> None:
        """Copy these files, and the files in these folders, from the bucket if they exist there."""
        if self._bucket is None:
            return
        for name in names:
            source = self._bucket / name
            with _reaching(source):
                files = source.iterdir() if source.is_dir() else [source] if source.exists() else []
                for file in files:
                    local = self.folder / file.relative_to(self._bucket)
                    local.parent.mkdir(parents=True, exist_ok=True)
                    local.write_bytes(file.read_bytes())

    def push(self, *, at_most_every: float = 0.0) -> None:
        """Copy new and changed files to the bucket, unless the last push was less than this many seconds ago."""
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
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder on this machine, which is made if missing, for this process alone.

    Raises:
      UserError: another process holds it, which is called `what` in the message, or there is a file of that name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{folder} is a file, or lies in one: choose the name of a folder") from None
    with open(folder / LOCK, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another {what} is at work in {folder}: wait for it to end, or choose another folder") from None
        except OSError as error:  # some network file systems know no locks
            log.warning("%s cannot be locked against another %s: %s", folder, what, error.strerror)
        yield


@contextmanager
def _reaching(path: epath.Path) -> Iterator[None]:
    """Turn the many kinds of errors that the libraries below raise into an OSError that names the object."""
    try:
        yield
    except Exception as error:
        raise OSError(f"{path} cannot be reached: {first_line(error)}") from error
