"""Errors that the command line prints without a traceback: most are the user's to mend."""


class UserError(ValueError):
    """Bad input. The message gives the value, what was expected and what to change."""


class ConfigError(UserError):
    """A configuration field; the message names it."""


class DataError(UserError):
    """A data set that cannot be used as a whole; says what was found and what was looked for."""


class WeightsError(UserError):
    """Weights that cannot be used; the message names each key, its shape and what was expected."""


class TooSmallError(UserError):
    """An image with fewer map positions than the network pools."""


class ClusterError(RuntimeError):
    """Other processes could not be joined, or have gone."""


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; says why, and which ones are there."""


class ParityError(RuntimeError):
    """An exported file computes something else than the network it was made from."""


class PreemptedError(Exception):
    """The run was told to stop, and has saved a checkpoint."""


def first_line(error: Exception) -> str:
    """What a library's error says in one line, its kind where it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
