"""PyTorch .pth and .safetensors files: flat numpy tensors (see `weights.state_dict`), with the card inside or beside them.

Neither needs PyTorch, and nothing in a file is run.
"""

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lfm_jax.errors import WeightsError, first_line
from lfm_jax.runtime.paths import replacing, write_whole
from lfm_jax.weights import pth, pth_writer
from lfm_jax.weights.card import Card
from lfm_jax.weights.integrity import json_hash
from lfm_jax.weights.layouts import StateDict

TORCH_SUFFIXES = (".pth", ".pt", ".bin")
WRAPPERS = ("model", "state_dict", "model_state_dict", "net")  # keys under which files in circulation keep the state dict
READING_ERRORS = (  # of a damaged file
    *(ArithmeticError, AttributeError, EOFError, LookupError, NotImplementedError, OSError, RecursionError, RuntimeError),
    *(TypeError, ValueError, struct.error, zipfile.BadZipFile),
)
CARD_PROOF = "card_sha256"  # in the metadata of a .safetensors; earlier versions wrote none
PREFIXES = ("module.", "_orig_mod.", "model.")  # left before every key by DataParallel, torch.compile and Lightning


def read_torch(path: Path) -> tuple[StateDict, Card | None]:
    """Reads the tensors of a .pth, and the card from PATH.card.json if it exists, else None.

    Raises:
      WeightsError: the file is not a plain state dict. A pickle with code in it is refused and not run.
    """
    _refuse_what_is_no_weights(path)
    try:
        loaded = pth.read(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} is not a plain PyTorch state dict, and was not run: {first_line(error)}") from None
    except READING_ERRORS as error:
        raise WeightsError(f"{path} is not a readable PyTorch file: {first_line(error)}") from None
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    if not isinstance(loaded, Mapping) or not all(isinstance(value, np.ndarray | pth.NotPlain) for value in loaded.values()):
        keys = ", ".join(str(key)[:80] for key in list(loaded)[:5]) if isinstance(loaded, Mapping) else ""
        kind = f"keys {keys}" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise WeightsError(f"{path} is not a state dict: expected tensors by name, found {kind}")
    return _without_prefixes({str(key): _array(path, str(key), value) for key, value in loaded.items()}), _card_beside(path)


def write_torch(path: Path, state: StateDict, card: Card) -> None:
    """Writes the tensors as a bare .pth, and the card as PATH.card.json beside it.

    The card appears first: with other weights it is refused, and weights without their card would be used as if by default.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        pth_writer.write(partial, state)
        write_whole(path.with_name(card_name(path.name)), (card.to_json() + "\n").encode())


def read_safetensors(path: Path) -> tuple[StateDict, Card | None]:
    """Reads the tensors of a .safetensors, and the card from its metadata, else from PATH.card.json, else None.

    Raises:
      WeightsError: the file or its card is damaged.
    """
    _refuse_what_is_no_weights(path)
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            state = _without_prefixes({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (SafetensorError, OSError, AttributeError, TypeError, ValueError) as error:  # numpy has no float8
        raise WeightsError(f"{path} is not a readable safetensors file: {first_line(error)}") from None
    for key, array in state.items():
        _refuse_kind(path, key, array)
    if "card" not in metadata:
        return state, _card_beside(path)
    if metadata.get(CARD_PROOF, json_hash(metadata["card"])) != json_hash(metadata["card"]):
        raise WeightsError(f"{path}: its card is damaged: it changed since it was written")
    return state, _parse_card(metadata["card"], f"{path}: its card")


def write_safetensors(path: Path, state: StateDict, card: Card) -> None:
    """Writes the tensors and the card as one .safetensors file. The same weights and card give the same bytes."""
    text = card.to_json()
    content = _with_sorted_metadata(save(state, metadata={"card": text, CARD_PROOF: json_hash(text)}))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content)


def _with_sorted_metadata(content: bytes) -> bytes:
    """The bytes of a .safetensors with its metadata in order: the library writes them in one that changes from run to run."""
    start, end = 8, 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[start:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as the format asks, so that tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def _array(path: Path, key: str, tensor: np.ndarray | pth.NotPlain) -> np.ndarray:
    """A tensor with a dtype of numpy's own: bfloat16 as float32, which holds all of its values."""
    if isinstance(tensor, pth.NotPlain):
        raise WeightsError(f"{path}: {key} is not a plain tensor: it is {tensor.kind}")
    array = tensor.astype(np.float32) if tensor.dtype == pth.DTYPES["bfloat16"] else tensor
    _refuse_kind(path, key, array)
    return array


def _refuse_kind(path: Path, key: str, array: np.ndarray) -> None:
    """Raises WeightsError for numbers that would be scored as other ones: complex, quantised or of an unknown kind."""
    is_counter = key.endswith((".num_batches_tracked", "/count"))
    if array.dtype.kind != "f" and not (is_counter and array.dtype.kind in "iu"):
        raise WeightsError(f"{path}: {key} holds {array.dtype} values: expected floating point")


def _without_prefixes(state: StateDict) -> StateDict:
    """The tensors without what training tools left before every key."""
    while state and (prefix := next((prefix for prefix in PREFIXES if all(key.startswith(prefix) for key in state)), None)):
        state = {key.removeprefix(prefix): array for key, array in state.items()}
    return state


def _refuse_what_is_no_weights(path: Path) -> None:
    """Raises WeightsError for what is often found under the name of weights, and says what to do."""
    if not path.is_file():
        raise WeightsError(f"{path} is not a file")
    with open(path, "rb") as file:
        start = file.read(200).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(
            f"{path} is a Git LFS pointer, not the weights: run git lfs pull where it lies, or download the file itself"
        )
    if start.startswith((b"<!doctype html", b"<html")):
        raise WeightsError(f"{path} is a web page, not the weights: download the file itself, from the page's download link")


def card_name(name: str) -> str:
    """The name of the card that lies beside the file `name`."""
    return f"{name}.card.json"


def _card_beside(path: Path) -> Card | None:
    card = path.with_name(card_name(path.name))
    return _parse_card(card.read_text(errors="replace"), str(card)) if card.is_file() else None


def _parse_card(text: str, what: str) -> Card:
    try:
        return Card.from_json(text)
    except WeightsError as error:
        raise WeightsError(f"{what} is damaged: {error}") from None
