"""The reader of .pth files against PyTorch's own: the same bits, the same refusals, and every damaged file named."""

import argparse
import pickle
from collections import Counter, OrderedDict

import numpy as np
import pytest

from lfm_jax.errors import WeightsError
from lfm_jax.weights import files, pth, pth_writer

OLD, ZIP = False, True  # torch.save(_use_new_zipfile_serialization=...)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="writes .pth files of its own, to compare with")


def bits(array):
    """Shape, and the bytes of every element in order."""
    return array.shape, np.ascontiguousarray(array).tobytes()


def bits_by_pytorch(torch, tensor):
    raw = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    plain = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    plain = plain.detach().contiguous()
    return tuple(tensor.shape), (plain if plain.dtype is torch.bool else plain.view(raw[plain.element_size()])).numpy().tobytes()


def saved(torch, tmp_path, value, *, as_zip=ZIP, name="w.pth"):
    torch.save(value, tmp_path / name, _use_new_zipfile_serialization=as_zip)
    return tmp_path / name


FLOATS = ("float64", "float32", "float16", "bfloat16", "complex64", "complex128")
DTYPES = (*FLOATS, "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool")
ZIP_ONLY = ("uint16", "uint32", "uint64")  # PyTorch does not write these in the old format
KINDS = [(dtype, ZIP) for dtype in DTYPES] + [(dtype, OLD) for dtype in DTYPES if dtype not in ZIP_ONLY]


@pytest.mark.parametrize(
    ("dtype", "as_zip"), KINDS, ids=[f"{dtype}-{'zip' if as_zip is ZIP else 'old'}" for dtype, as_zip in KINDS]
)
def test_every_dtype_comes_with_pytorchs_bits(torch, tmp_path, dtype, as_zip):
    values = torch.arange(24).reshape(4, 6) * 3 - 20
    values = (values / 7 if dtype in FLOATS else values).to(getattr(torch, dtype))
    if dtype in FLOATS[:4]:
        values[0, :4] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-7])
    path = saved(torch, tmp_path, {"w": values}, as_zip=as_zip)
    assert bits(pth.read(path)["w"]) == bits_by_pytorch(torch, values)
    assert pth.read(path)["w"].dtype == pth.DTYPES[dtype]


@pytest.mark.parametrize("as_zip", [ZIP, OLD], ids=["zip", "old"])
def test_views_of_one_storage_come_as_pytorch_reads_them(torch, tmp_path, as_zip):
    whole = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
    views = {
        "whole": whole,
        "transposed": whole.T if whole.ndim == 2 else whole.permute(2, 0, 1),
        "piece": whole[1:, ::2, 3],
        "channels last": whole[None].to(memory_format=torch.channels_last),
        "expanded": whole[0, 0, :1].expand(7),
        "scalar": whole[2, 3, 4],
        "empty": whole[:0],
        "empty axis": torch.empty(3, 0, 2),
        "parameter": torch.nn.Parameter(whole[0]),
        "frozen": torch.nn.Parameter(whole[1], requires_grad=False),
        "integer": torch.arange(5)[1:4],
    }
    path = saved(torch, tmp_path, views, as_zip=as_zip)
    read, by_pytorch = pth.read(path), torch.load(path, weights_only=True)
    assert list(read) == list(by_pytorch)
    for name, tensor in by_pytorch.items():
        assert bits(read[name]) == bits_by_pytorch(torch, tensor), name


@pytest.mark.parametrize("as_zip", [ZIP, OLD], ids=["zip", "old"])
def test_what_lies_around_the_tensors_comes_too(torch, tmp_path, as_zip):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    around = {
        "epoch": 3,
        "best": 0.5,
        "name": "é",
        "done": False,
        "none": None,
        "big": 2**80,
        "minus": -(2**40),
        "bytes": b"\xff\0",
    }
    around |= {
        "minus": -(2**40),
        "list": [1, (2, 3), ()],
        "set": {1, 2},
        "complex": 1 + 2j,
        "size": torch.Size([2, 3]),
        "counts": Counter("aab"),
    }
    around |= {
        "minus": -(2**40),
        "device": torch.device("cpu"),
        "dtype": torch.float32,
        (1, "a"): "key",
        "bytearray": bytearray(b"ab"),
    }
    value = {"model": network.state_dict(), "optimizer": optimizer.state_dict(), **around}
    read = pth.read(saved(torch, tmp_path, value, as_zip=as_zip))
    for name in set(around) - {"device", "dtype"}:
        assert read[name] == around[name], name
    assert bits(read["model"]["0.weight"]) == bits_by_pytorch(torch, network[0].weight)
    assert bits(read["optimizer"]["state"][0]["exp_avg"]) == bits_by_pytorch(torch, optimizer.state_dict()["state"][0]["exp_avg"])


@pytest.mark.parametrize("kind", ["sparse", "meta", "quantised", "conjugated or negated", "float8_e4m3fn"])
def test_tensors_that_numpy_has_no_array_for_are_told_by_kind(torch, tmp_path, kind):
    make = {
        "sparse": lambda: torch.eye(2).to_sparse(),
        "meta": lambda: torch.ones(2, device="meta"),
        "quantised": lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "conjugated or negated": lambda: torch.ones(2, dtype=torch.complex64).conj(),
        "float8_e4m3fn": lambda: torch.ones(2).to(torch.float8_e4m3fn),
    }
    path = saved(torch, tmp_path, {"a": make[kind](), "b": torch.ones(1)})
    assert pth.read(path)["a"] == pth.NotPlain(kind)
    with pytest.raises(WeightsError, match=f"a is not a plain tensor: it is {kind}"):
        files.read_torch(path)


@pytest.mark.parametrize("as_zip", [ZIP, OLD], ids=["zip", "old"])
@pytest.mark.parametrize(
    ("value", "named"),
    [
        (argparse.Namespace(lr=0.1), r"argparse\.Namespace"),
        (np.float64(0.5), r"numpy\.\S*multiarray\.scalar"),
        (np.ones(2), r"numpy\.\S*multiarray\._reconstruct"),
        (print, "print"),
    ],
    ids=["namespace", "numpy scalar", "numpy array", "function"],
)
def test_what_pytorch_refuses_is_refused_by_name_with_what_to_do(torch, tmp_path, value, named, as_zip):
    path = saved(torch, tmp_path, {"model": {"w": torch.ones(2)}, "args": value}, as_zip=as_zip)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    with pytest.raises(WeightsError, match=rf"was not run: it holds {named}, .*torch\.save\(torch\.load") as raised:
        files.read_torch(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("as_zip", [ZIP, OLD], ids=["zip", "old"])
def test_a_file_cut_off_anywhere_is_named(torch, tmp_path, as_zip):
    content = saved(torch, tmp_path, {"a": torch.ones(50), "b": torch.arange(9)}, as_zip=as_zip).read_bytes()
    for length in [*range(0, 40), *range(40, len(content), 41), len(content) - 1]:
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"cut\.pth is not"):
            files.read_torch(tmp_path / "cut.pth")


@pytest.mark.parametrize("as_zip", [ZIP, OLD], ids=["zip", "old"])
def test_flipped_bytes_end_in_one_line_or_in_values(torch, tmp_path, as_zip):
    value = OrderedDict(a=torch.ones(5), b=torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).T))
    content, draws = saved(torch, tmp_path, value, as_zip=as_zip).read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(content)
        damaged[draws.integers(len(content))] = draws.integers(256)
        (tmp_path / "flipped.pth").write_bytes(damaged)
        try:
            files.read_torch(tmp_path / "flipped.pth")
        except WeightsError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, np.int64, np.int32, np.uint8, bool])
def test_what_is_written_pytorch_reads(torch, tmp_path, dtype):
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": np.array(7, dtype), "c": np.ones((2, 0), dtype)}
    arrays["transposed"] = arrays["a"].T
    pth_writer.write(tmp_path / "w.pth", arrays)
    for read in (torch.load(tmp_path / "w.pth", weights_only=True), pth.read(tmp_path / "w.pth")):
        assert list(read) == list(arrays)
        for name, array in arrays.items():
            assert bits(np.asarray(read[name])) == bits(array), name
            assert np.asarray(read[name]).dtype == dtype


def test_the_released_file_has_pytorchs_bits(torch, shared):
    path = shared / "weights" / "lfm_bs_model.pth"
    by_pytorch = torch.load(path, map_location="cpu", weights_only=True)
    read = pth.read(path)
    assert list(read) == list(by_pytorch)
    assert all(bits(read[name]) == bits_by_pytorch(torch, tensor) for name, tensor in by_pytorch.items())
