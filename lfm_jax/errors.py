"""Errors that the command line prints without a traceback. Most of them are for the user to fix."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(ValueError):
    """Bad input. The message says which value, what was expected and what to change."""


class ConfigError(UserError):
    """A configuration field has a value that cannot work. The message names the field."""


class DataError(UserError):
    """A data set cannot be used as a whole. The message says what was looked for and what was there."""


class WeightsError(UserError):
    """Weights cannot be used. The message names each key with its shape and what was expected."""


class ImageError(Exception):
    """An image that cannot be used. str() is the reason, without the path."""


class TooSmallError(UserError):
    """An image gives fewer map positions than the network pools."""


class ClusterError(RuntimeError):
    """The other processes of a cluster could not be joined, or have gone away."""


class CheckpointError(RuntimeError):
    """A checkpoint could not be written. The message says why, and which checkpoints exist."""


class ParityError(RuntimeError):
    """An exported file computes something other than the network it was made from."""


class PreemptedError(Exception):
    """The run was told to stop and has saved a checkpoint."""


@contextmanager
def blamed(field: str) -> Iterator[None]:
    """Turn a UserError raised inside into a ConfigError that names `field`."""
    try:
        yield
    except UserError as error:
        raise ConfigError(f"{field}: {error}") from None


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class if it has no message."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def line_in(file: Path, error: BaseException) -> int | None:
    """Number of the last line of `file` that an error passed through, None if it passed through none."""
    if isinstance(error, SyntaxError):
        return error.lineno
    trace, line = error.__traceback__, None
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
