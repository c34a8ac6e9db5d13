"""Reads .pth files, as `torch.save` writes them, without PyTorch.

There are two formats: a zip archive with a pickle and one record per storage, and, before PyTorch 1.6, pickles in a row
with the storages behind them. Tensors come as numpy arrays with the same bits. What `torch.load(weights_only=True)`
refuses is refused here; what it reads and numpy has no arrays for (sparse, quantised, meta, 8-bit floats) comes as
`NotPlain`. A hostile file cannot run anything, nor take much more memory than it has bytes.
"""

import functools
import io
import math
import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from lfm_jax.weights.unpickle import Name, Reader, plain_key

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001  # of the format before PyTorch 1.6
MOST_TIMES_LARGER = 16  # all tensors together, than the file: views may repeat elements of a storage
MOST_AXES = 32

DTYPES: dict[str, Any] = {
    **{name: np.dtype(name) for name in ("float64", "float32", "float16", "complex64", "complex128", "bool")},
    **{f"{sign}int{bits}": np.dtype(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
STORAGES = {
    **{"Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Bool": "bool"},
    **{"Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8"},
    **{"ComplexFloat": "complex64", "ComplexDouble": "complex128"},
}
NAMES = re.compile(  # that say what something is, and do nothing
    r"torch\.(cuda\.)?\w*Storage|torch\.storage\.\w+Storage|torch\.(Tensor|nn\.parameter\.Parameter)"
    r"|torch\.(b?float|complex|q?u?int|bits)\d+\w*|torch\.(bool|per_\w+)"
)


class NotPlain(NamedTuple):
    """A tensor that numpy has no array for, and of what kind it is."""

    kind: str


class Storage(NamedTuple):
    """The bytes that tensors are views of, and the dtype of its class."""

    content: np.ndarray
    dtype: str


def read(path: Path) -> Any:
    """What was saved: nested dicts, lists, text, numbers, and tensors as read-only arrays.

    Raises:
      pickle.UnpicklingError: the file holds something else, which was not run; the message says what.
      ValueError, EOFError, KeyError, OSError, ...: the file is damaged, or of another kind.
    """
    with open(path, "rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
        file.seek(0)
        return _read_zip(file) if is_zip else _read_old(io.BytesIO(file.read()))


class _Tensors:
    """The tensors of one file: storages by key, and what is still allowed for their elements."""

    def __init__(self, size: int, load: Callable[[str, int], np.ndarray]):
        self.load, self.left, self.size = load, MOST_TIMES_LARGER * size, size
        self.storages: dict[str, Storage] = {}
        self.calls: dict[str, Callable[..., Any]] = {
            **{f"torch._utils.{name}": functools.partial(_not_plain, kind) for name, kind in _KINDS.items()},
            **{f"torch._utils._rebuild_tensor{version}": self._tensor for version in ("", "_v2")},
            "torch._utils._rebuild_tensor_v3": self._tensor_of_dtype,
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
            "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
            "torch._tensor._rebuild_from_type_v2": lambda function, kind, arguments, _: self.reader.call(function, arguments),
            "torch.serialization._get_layout": lambda _: Name("torch.layout"),
            "torch.device": lambda *_: Name("torch.device"),
            "torch.Size": lambda shape=(): tuple(map(_count, shape)),
            "collections.OrderedDict": _pairs,
            "collections.Counter": _pairs,
            "builtins.set": lambda items=(): {plain_key(item) for item in items},
            "builtins.complex": complex,
            "builtins.bytearray": _old_bytes,
            "_codecs.encode": _old_bytes,
        }
        self.reader = self.new_reader()

    def new_reader(self) -> Reader:
        return Reader(self.calls, NAMES, self._storage)

    def _storage(self, identity: Any) -> Storage:
        known = isinstance(identity, tuple) and len(identity) >= 5 and identity[0] == "storage"
        if not known or not isinstance(identity[1], Name) or not isinstance(identity[2], str):
            raise pickle.UnpicklingError("it refers to something outside that is not a storage")
        _, kind, key, _, count, *view = identity
        name = kind.path.rpartition(".")[2].removesuffix("Storage")
        dtype = "uint8" if name == "Untyped" else STORAGES.get(name, name)
        if view not in ([], [None]):
            raise ValueError("it has views of storages, as PyTorch wrote them before 0.4")
        if key not in self.storages:
            width = DTYPES[dtype].itemsize if dtype in DTYPES else 1
            self.storages[key] = Storage(self.load(key, _count(count) * width), dtype)
        if self.storages[key].dtype != dtype:
            raise ValueError(f"storage {key} is of type {self.storages[key].dtype} and of type {dtype}")
        return self.storages[key]

    def _tensor(self, storage: Storage, offset: int, shape: Any, strides: Any, *others: Any) -> np.ndarray | NotPlain:
        return self._view(storage, storage.dtype, offset, shape, strides, others[2:])

    def _tensor_of_dtype(self, storage: Storage, *others: Any) -> np.ndarray | NotPlain:
        offset, shape, strides, _, _, dtype, *flags = others
        return self._view(storage, dtype.path.removeprefix("torch."), offset, shape, strides, flags)

    def _view(self, storage: Storage, dtype: str, offset: int, shape: Any, strides: Any, flags: Any) -> np.ndarray | NotPlain:
        if any(flags):  # conjugated or negated only when it is used
            return NotPlain("conjugated or negated")
        if dtype not in DTYPES:
            return NotPlain(dtype)
        shape, strides, offset = tuple(map(_count, shape)), tuple(map(_count, strides)), _count(offset)
        if len(shape) != len(strides) or len(shape) > MOST_AXES:
            raise ValueError(f"a tensor of {len(shape)} axes has {len(strides)} strides")
        kind, elements = DTYPES[dtype], math.prod(shape)
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) if elements else 0
        if (last + 1) * kind.itemsize > len(storage.content) and elements:
            raise ValueError(f"a tensor needs element {last} of a storage of {len(storage.content) // kind.itemsize}")
        self.left -= elements * kind.itemsize
        if self.left < 0:
            raise pickle.UnpicklingError(f"its tensors would take more than {MOST_TIMES_LARGER} times its {self.size:,} bytes")
        if not elements:
            return np.empty(shape, kind)
        whole = storage.content[: len(storage.content) // kind.itemsize * kind.itemsize].view(kind)
        strides = tuple(stride * kind.itemsize for stride in strides)
        return np.lib.stride_tricks.as_strided(whole[offset:], shape, strides, writeable=False)


_KINDS = {  # functions that rebuild what is not a plain array
    "_rebuild_sparse_tensor": "sparse",
    "_rebuild_qtensor": "quantised",
    "_rebuild_meta_tensor_no_storage": "meta",
    "_rebuild_nested_tensor": "nested",
    "_rebuild_wrapper_subclass": "of a class of its own",
    "_rebuild_device_tensor_from_cpu_tensor": "of another device",
}


def _not_plain(kind: str, *_: Any) -> NotPlain:
    return NotPlain(kind)


def _read_zip(file: BinaryIO) -> Any:
    size = file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        _check_entries(archive.infolist(), size)
        root = next((name.removesuffix("data.pkl") for name in entries if re.fullmatch(r"[^/]*/data\.pkl", name)), None)
        if root is None:
            raise ValueError("a zip file without data.pkl")
        if f"{root}constants.pkl" in entries:
            raise pickle.UnpicklingError("it is a TorchScript program; save the state_dict() of its module")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in entries else b"little"
        if order != b"little":
            raise ValueError(f"its byte order is {order[:20].decode(errors='replace')}, expected little")

        def load(key: str, count: int) -> np.ndarray:
            content = archive.read(f"{root}data/{key}")
            if len(content) != count:
                raise ValueError(f"storage {key} has {len(content):,} bytes, expected {count:,}")
            return np.frombuffer(content, np.uint8)

        return _Tensors(size, load).reader.read(io.BytesIO(archive.read(f"{root}data.pkl")))


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    """PyTorch compresses nothing, so records cannot be larger than the file, unless they overlap."""
    if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
        raise ValueError("its records are compressed, which torch.save never does")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError(f"its records are larger than the file of {size:,} bytes")
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("it has two records of one name")


def _read_old(file: io.BytesIO) -> Any:
    size, taken = len(file.getbuffer()), 0
    if file.getbuffer()[:1] != pickle.PROTO:
        raise ValueError("neither a zip file nor of the format before PyTorch 1.6")

    def load(key: str, count: int) -> np.ndarray:
        nonlocal taken
        taken += count
        if taken > size:
            raise ValueError(f"its storages are larger than the file of {size:,} bytes")
        return np.zeros(count, np.uint8)  # filled below: the storages lie behind the pickles

    tensors = _Tensors(size, load)
    if [tensors.new_reader().read(file) for _ in range(2)] != [MAGIC, VERSION]:
        raise ValueError("a pickle, but not one of PyTorch's")
    if tensors.new_reader().read(file).get("little_endian") is not True:
        raise ValueError("it was not written on a little-endian machine")
    loaded, keys = tensors.reader.read(file), tensors.new_reader().read(file)
    if sorted(keys) != sorted(tensors.storages):
        raise ValueError("its list of storages is not that of its tensors")
    for storage in map(tensors.storages.__getitem__, keys):
        _fill(file, storage)
    return loaded


def _fill(file: io.BytesIO, storage: Storage) -> None:
    width = DTYPES[storage.dtype].itemsize if storage.dtype in DTYPES else 1
    (count,) = struct.unpack("<q", file.read(8))
    if count * width != len(storage.content) or file.readinto(storage.content.data) != count * width:
        raise ValueError(f"a storage of {len(storage.content):,} bytes is cut off, or has another size")


def _pairs(items: Any = ()) -> dict[Any, Any]:
    """Of a mapping, or of pairs in a list."""
    pairs: Iterator[Any] = iter(items.items() if isinstance(items, dict) else items)
    return {plain_key(key): value for key, value in pairs}


def _old_bytes(text: Any = "", encoding: str = "latin1") -> bytes:
    """Bytes as protocol 2 writes them: text with the name of an encoding."""
    if not isinstance(text, str | bytes) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("it makes bytes of something other than text")
    return text.encode("latin1") if isinstance(text, str) else text


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError(f"a size that is a {type(value).__name__}, or out of range")
    return value
