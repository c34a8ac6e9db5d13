"""Images inside archives: tar files, such as WebDataset's shards, and Parquet files with a column of image files.

An archive is read once, from front to back, and only a few of its images are in memory at a time. It may lie on this machine
or in a bucket.
"""

import errno
import functools
import importlib.util
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

from lfm_jax.data.images import MAX_FILE_BYTES, ImageError
from lfm_jax.data.kinds import HEAD, kind_of
from lfm_jax.data.listing import Passed, is_hidden, kind_of_name_or
from lfm_jax.errors import DataError, UserError, first_line
from lfm_jax.runtime.storage import open_file

PARQUET = ".parquet"
SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", PARQUET)
IMAGE_COLUMN = "image"  # as Hugging Face's data sets call it
ROWS_AT_ONCE = 16
BYTES_AT_ONCE = 1 << 20
MAX_HEADER_BYTES = 1 << 20  # of a long name or other extra fields in a tar; tarfile would read any number
MAX_SKIPPED_BYTES = 1 << 40  # of anything else; tarfile would look for the end of any number
_EXTRA_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# What is wrong with one file and will be so tomorrow. Any other fault of a disk or a network ends the run, so that the
# images behind it are not taken for scored.
_PERMANENT = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EINVAL)


class Member(NamedTuple):
    """An image file inside an archive.

    Attributes:
      name: the path of the archive, a slash, and the name of the image in it.
      data: the bytes of the file.
      error: why there are none.
    """

    name: str
    data: bytes = b""
    error: str = ""

    def read(self) -> bytes:
        """The bytes of the file. Raises ImageError if there are none."""
        if self.error:
            raise ImageError(self.error)
        return self.data


def is_archive(path: str) -> bool:
    """Whether a path is that of an archive, told by its suffix."""
    return path.lower().endswith(SUFFIXES)


def require_readable(archive: str) -> None:
    """Raises UserError where archives of that kind cannot be read."""
    if archive.lower().endswith(PARQUET) and importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"{archive}: reading Parquet takes pyarrow: pip install 'lfm_jax[parquet]'")


def members(archive: str, passed: Passed | None = None) -> Iterator[Member]:
    """Yields the images of an archive in their order; `passed` counts what is not an image.

    An archive that cannot be opened, or breaks off, gives a member of its own name with the reason.

    Raises:
      UserError: archives of this kind cannot be read here.
      DataError: a disk or a network fails, so that nothing can be said about the rest.
    """
    require_readable(archive)
    read = _in_parquet if archive.lower().endswith(PARQUET) else _in_tar
    count = 0
    try:
        with open_file(archive) as file:
            for member in read(file, archive, Passed() if passed is None else passed):
                count += 1
                yield member
    except UserError:
        raise
    except Exception as error:  # damaged archives raise almost anything
        if isinstance(error, OSError) and error.errno not in _PERMANENT:
            raise DataError(f"{archive} cannot be read any further ({error.strerror}): score it again") from None
        reason = getattr(error, "strerror", None) or first_line(error)
        yield Member(archive, error=f"breaks off after {count} images: {reason}" if count else reason)
    else:
        if not count:
            yield Member(archive, error="no image in this archive")


class _Header(tarfile.TarInfo):
    """A header of a tar. tarfile itself takes a damaged one for the end of the archive, and passes over all that follows."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        limit = MAX_HEADER_BYTES if header.type in _EXTRA_HEADERS else MAX_SKIPPED_BYTES
        if header.size > limit:
            raise tarfile.ReadError(f"a header says {header.size} bytes, over the limit of {limit}")
        return header

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            cut = isinstance(error, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]
            what = "it ends without the mark of its end" if cut else f"damaged header ({error})"
            raise tarfile.ReadError(what if tarfile_.offset else "not a tar file") from None


def _in_tar(file: IO[bytes], archive: str, passed: Passed) -> Iterator[Member]:
    with tarfile.open(fileobj=file, mode="r|*", bufsize=BYTES_AT_ONCE, tarinfo=_Header) as tar:
        while (header := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would keep all headers
            if header.isdir():
                continue
            name = f"{archive}/{header.name.removeprefix('./')}"
            if any(map(is_hidden, PurePosixPath(header.name).parts)):
                passed["hidden files"] += 1
            elif header.size > MAX_FILE_BYTES:
                yield Member(name, error=f"{header.size} bytes is over the limit of {MAX_FILE_BYTES} bytes for an image file")
            elif not header.isreg():
                yield Member(name, error="not a file but a link or a device, which is not followed")
            else:
                data = tar.extractfile(header).read()  # type: ignore[union-attr]
                if len(data) < header.size:
                    raise tarfile.ReadError("unexpected end of data")
                kind = kind_of_name_or(header.name, functools.partial(kind_of, data[:HEAD]))
                if kind is None:
                    yield Member(name, data)
                else:
                    passed[kind] += 1


def _in_parquet(file: IO[bytes], archive: str, passed: Passed) -> Iterator[Member]:
    from pyarrow import parquet

    table = parquet.ParquetFile(file, buffer_size=1 << 20)
    column, row = _image_column(table.schema_arrow), 0
    for batch in table.iter_batches(ROWS_AT_ONCE, columns=[column]):
        for value in batch.column(0).to_pylist():
            stored = value if isinstance(value, dict) else {"bytes": value}
            path, data = stored.get("path"), stored.get("bytes")
            name = f"{archive}/{row}" + f"/{path}" * bool(path)
            row += 1
            if not data:
                yield Member(name, error="this row holds the path of a file and not the file" if path else "no image in this row")
            elif len(data) > MAX_FILE_BYTES:
                yield Member(name, error=f"{len(data)} bytes is over the limit of {MAX_FILE_BYTES} bytes for an image file")
            else:
                yield Member(name, data)


def _image_column(schema: Any) -> str:
    """The column called `image`, or else the only one of bytes. Raises ValueError."""
    from pyarrow import types

    def holds_files(kind: Any) -> bool:
        if types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0 and holds_files(kind.field("bytes").type)
        return types.is_binary(kind) or types.is_large_binary(kind)

    names = [field.name for field in schema if holds_files(field.type)]
    if IMAGE_COLUMN in names:
        return IMAGE_COLUMN
    if len(names) == 1:
        return str(names[0])
    columns = ", ".join(names or schema.names)
    raise ValueError(f"expected a column {IMAGE_COLUMN} of image files (bytes, or a struct of bytes and path); there are {columns}")
