"""Writes .pth files that `torch.load` reads, without PyTorch."""

import pickle
import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from lfm_jax.weights.pth import DTYPES, STORAGES


def write(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict as `torch.save` does; the same tensors give the same bytes."""
    arrays = {key: np.ascontiguousarray(array).reshape(array.shape) for key, array in tensors.items()}
    records = {"data.pkl": _pickled(arrays), "byteorder": b"little", "version": b"3\n"}
    records |= {f"data/{number}": _little(array) for number, array in enumerate(arrays.values())}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)


def _little(array: np.ndarray) -> bytes:
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A dict of tensors in the instructions of protocol 2, each the only view of its storage."""
    classes = {DTYPES[dtype]: f"{name}Storage" for name, dtype in STORAGES.items()}
    parts = [pickle.PROTO, b"\x02", pickle.EMPTY_DICT, pickle.MARK]
    for number, (key, array) in enumerate(arrays.items()):
        strides = [stride // array.itemsize for stride in array.strides]
        parts += [_text(key), _global("torch._utils", "_rebuild_tensor_v2"), pickle.MARK]
        parts += [pickle.MARK, _text("storage"), _global("torch", classes[array.dtype])]
        parts += [_text(str(number)), _text("cpu"), _number(array.size), pickle.TUPLE, pickle.BINPERSID]
        parts += [_number(0), _numbers(array.shape), _numbers(strides), pickle.NEWFALSE]
        parts += [_global("collections", "OrderedDict"), pickle.EMPTY_TUPLE, pickle.REDUCE, pickle.TUPLE, pickle.REDUCE]
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    content = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def _number(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _numbers(values: Iterable[int]) -> bytes:
    return pickle.MARK + b"".join(map(_number, values)) + pickle.TUPLE
