"""Weights by name: which there are, where their files lie, and how they get here.

`registry.toml` lists them. A file is fetched at first use into a cache folder, or taken from LFM_WEIGHTS_MIRROR, which is a
folder or the address of one. Whatever its source, it is used only if its sha256 is that of the registry.
"""

import functools
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from lfm_jax.errors import WeightsError, first_line
from lfm_jax.runtime.paths import expanded
from lfm_jax.runtime.progress import say
from lfm_jax.weights import hub

REGISTRY = Path(__file__).with_name("registry.toml")
SHIPPED = Path(__file__).with_name("shipped")
MIRROR, CACHE = "LFM_WEIGHTS_MIRROR", "LFM_CACHE"
SECONDS_TO_ANSWER = 30


@dataclass(frozen=True)
class Entry:
    """Weights of the registry.

    Attributes:
      about: what they are, in a few words.
      file: its name in the cache, in mirrors, and in `SHIPPED` where there are no `urls`.
      size: bytes.
      urls: the addresses to fetch it from, in this order.
    """

    name: str
    about: str
    licence: str
    file: str
    size: int
    sha256: str
    urls: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        """Where the file lies, or will lie once it has been fetched."""
        return cache_folder() / self.file if self.urls else SHIPPED / self.file

    @property
    def is_here(self) -> bool:
        """Whether the file lies in its place. Its content is compared when it is used."""
        return self.place.is_file()


@functools.cache
def entries() -> dict[str, Entry]:
    """All weights of the registry, by name."""
    table = tomllib.loads(REGISTRY.read_text())["weights"]
    return {name: Entry(name, **{**values, "urls": tuple(values.get("urls", ()))}) for name, values in table.items()}


@functools.cache
def default_name() -> str:
    """The weights that are used where none are given."""
    return str(tomllib.loads(REGISTRY.read_text())["default"])


def find(weights: str | os.PathLike[str] | None) -> Entry | None:
    """The entry that is meant: the default for None; None for the path of something that exists, and for anything else."""
    if weights is None:
        return entries()[default_name()]
    text = os.fspath(weights)
    return None if expanded(text).exists() else entries().get(text)


def describe(weights: str | os.PathLike[str] | None) -> str:
    """The weights as a message names them: by name with what they are, or by path."""
    entry = find(weights)
    return f"{entry.name} ({entry.about}; {entry.licence})" if entry else os.fspath(weights or "")


def locate(weights: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    """The path of weights given by name, as hf://OWNER/NAME or by path, after fetching them where needed.

    Raises:
      WeightsError: they cannot be fetched; says from where, why, and where the file can be put by hand.
    """
    if entry := find(weights):
        return fetch(entry)
    assert weights is not None  # it has an entry
    return hub.download(os.fspath(weights)) if os.fspath(weights).startswith(hub.PREFIX) else weights


def cache_folder() -> Path:
    """Where fetched files are kept: LFM_CACHE, or what the system has for caches."""
    import pooch  # here, because it takes a tenth of a second to import

    return expanded(os.environ.get(CACHE) or pooch.os_cache("lfm_jax")) / "weights"


def fetch(entry: Entry) -> Path:
    """The file of an entry, fetched unless it is here already. Raises WeightsError as `locate` does."""
    import pooch

    if not entry.urls or (entry.is_here and pooch.file_hash(str(entry.place)) == entry.sha256):
        return entry.place
    mirror = os.environ.get(MIRROR, "")
    if mirror and "://" not in mirror:
        return _from_folder(entry, expanded(mirror))
    failures = []
    for url in (f"{mirror.rstrip('/')}/{entry.file}",) if mirror else entry.urls:
        say(f"fetching the weights {entry.name} ({entry.size / 1e6:.1f} MB) from {url}")
        if failure := _download(entry, url):
            failures.append(f"{url}: {failure}")
        else:
            return entry.place
    raise WeightsError(
        f"the weights {entry.name} could not be fetched ({'; '.join(failures)}). Put the file with sha256 {entry.sha256} at "
        f"{entry.place}, or name a folder or an address that has {entry.file} in {MIRROR}{_or_shipped()}"
    )


def _or_shipped() -> str:
    """What a machine without a network can take instead."""
    shipped = [entry.name for entry in entries().values() if not entry.urls]
    return f"; without a network there is --weights={shipped[0]}, which lies in the package" if shipped else ""


def _from_folder(entry: Entry, folder: Path) -> Path:
    import pooch

    file = folder / entry.file
    if not file.is_file():
        raise WeightsError(f"{MIRROR}={folder}: there is no {entry.file} in it; expected the file with sha256 {entry.sha256}")
    if (actual := pooch.file_hash(str(file))) != entry.sha256:
        raise WeightsError(f"{file} is not the weights {entry.name}: its sha256 is {actual}, expected {entry.sha256}")
    return file


def _download(entry: Entry, url: str) -> str:
    """Fetches into the cache, where the file appears whole and proven or not at all. Returns why it could not, or ""."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    in_terminal = sys.stderr is not None and sys.stderr.isatty()
    downloader = pooch.HTTPDownloader(progressbar=in_terminal, timeout=SECONDS_TO_ANSWER)
    try:
        pooch.retrieve(url, f"sha256:{entry.sha256}", fname=entry.file, path=entry.place.parent, downloader=downloader)
    except requests.Timeout:
        return f"no answer within {SECONDS_TO_ANSWER} s"
    except requests.HTTPError as error:
        return first_line(error).partition(" for url")[0]  # such as: 404 Client Error: Not Found
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        return "the connection broke off"
    except requests.ConnectionError:
        return "no connection"
    except requests.RequestException as error:
        return first_line(error)
    except ValueError:
        return "another file, with another sha256, which was discarded"
    except OSError as error:
        raise WeightsError(f"{entry.place.parent}: {error.strerror or error}; {CACHE} may name another folder") from None
    return ""
