"""Weights from the Hugging Face Hub: hf://OWNER/NAME, hf://OWNER/NAME@REVISION, hf://OWNER/NAME/FILE."""

import re
from pathlib import Path
from typing import Any

from lfm_jax.errors import WeightsError, first_line

PREFIX = "hf://"
FILE = "model.safetensors"  # what is taken where no file is named, and what `lfm export --format=hub` writes
ADDRESS = re.compile(r"hf://(?P<repository>[^/@\s]+/[^/@\s]+)(@(?P<revision>[^/\s]+))?(/(?P<file>\S+))?/?")


def download(address: str) -> Path:
    """The local path of a file in a repository, with its card beside it if there is one; huggingface_hub keeps the cache.

    Raises:
      WeightsError: huggingface_hub is missing, the address has another form, or there is no such file.
    """
    parts = ADDRESS.fullmatch(address)
    if not parts:
        raise WeightsError(f"{address}: expected hf://OWNER/NAME, hf://OWNER/NAME@REVISION or hf://OWNER/NAME/FILE")
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        raise WeightsError(f"{address}: the Hub needs huggingface_hub: pip install 'lfm_jax[hub]'") from None
    repository, revision, file = parts["repository"], parts["revision"], (parts["file"] or FILE).rstrip("/")

    def get(name: str) -> Any:
        return huggingface_hub.hf_hub_download(repository, name, revision=revision)

    here = isinstance(huggingface_hub.try_to_load_from_cache(repository, file, revision=revision), str)
    try:
        try:  # the card first: without it weights would be used as if by default
            get(f"{file}.card.json")
        except errors.LocalEntryNotFoundError:  # without a connection; if there is a card, it came with the file
            if not here:
                raise
        except errors.EntryNotFoundError:  # most files have theirs inside
            pass
        return Path(get(file))
    except errors.LocalEntryNotFoundError:
        raise WeightsError(f"{address}: the Hub cannot be reached, and the file is not in its cache on this machine") from None
    except errors.EntryNotFoundError:
        raise WeightsError(f"{address}: the repository has no {file}; name another one, {PREFIX}{repository}/FILE") from None
    except errors.RevisionNotFoundError:
        raise WeightsError(f"{address}: the repository has no revision {revision}") from None
    except errors.RepositoryNotFoundError:
        raise WeightsError(f"{address}: there is no such repository, or it is private: log in with hf auth login") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{address} cannot be fetched: {first_line(error)}") from None
