"""The reader of .pth files against PyTorch's own: the same bits, the same refusals, and nothing that a hostile file can do."""

import argparse
import io
import pickle
import struct
import time
import tracemalloc
import zipfile
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


def archive(path, instructions, records=(), *, compression=zipfile.ZIP_STORED):
    """A .pth with these pickle instructions and storages."""
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in {"data.pkl": b"\x80\x02" + instructions + b".", "version": b"3\n", **dict(records)}.items():
            file.writestr(f"archive/{name}", content)
    return path


def tensor(shape=(2,), strides=(1,), *, offset=0, count=2, kind=b"FloatStorage", key="0", call=b"_rebuild_tensor_v2"):
    """The instructions of one tensor."""
    numbers = lambda values: b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"  # noqa: E731
    text = lambda text: b"X" + struct.pack("<I", len(text)) + text.encode()  # noqa: E731
    storage = b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + numbers([count])[1:-1] + b"tQ"
    function = b"ctorch._utils\n" + call + b"\n"
    return function + b"(" + storage + numbers([offset])[1:-1] + numbers(shape) + numbers(strides) + b"\x89)tR"


def state(*tensors):
    return b"}(" + b"".join(b"X\x01\0\0\0" + bytes([97 + number]) + one for number, one in enumerate(tensors)) + b"u"


EIGHT = {"data/0": b"\0\0\x80\x3f\0\0\0\x40"}


def test_the_instructions_of_these_tests_are_those_of_a_tensor(tmp_path):
    assert pth.read(archive(tmp_path / "w.pth", state(tensor()), EIGHT))["a"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("instructions", "records", "message"),
    [
        (state(tensor(shape=(3,))), EIGHT, "needs element 2 of a storage of 2"),
        (state(tensor(offset=1)), EIGHT, "needs element 2 of a storage of 2"),
        (state(tensor(shape=(2, 2), strides=(1 << 40, 1))), EIGHT, "needs element"),
        (state(tensor(strides=(-1,), offset=1)), EIGHT, "a size that is a int, or out of range"),
        (state(tensor(shape=(-2,))), EIGHT, "a size"),
        (state(tensor(offset=-1)), EIGHT, "a size"),
        (state(tensor(shape=(2, 1))), EIGHT, "2 axes has 1 strides"),
        (state(tensor(shape=(1,) * 40, strides=(1,) * 40)), EIGHT, "40 axes"),
        (state(tensor(count=1 << 40)), EIGHT, "storage 0 has 8 bytes, expected 4,398,046,511,104"),
        (state(tensor(count=1)), EIGHT, "storage 0 has 8 bytes, expected 4"),
        (state(tensor(kind=b"LongStorage")), EIGHT, "storage 0 has 8 bytes, expected 16"),
        (state(tensor(), tensor(kind=b"IntStorage")), EIGHT, "of type float32 and of type int32"),
        (state(tensor(key="../../etc/passwd")), EIGHT, "no item named"),
        (state(tensor()), {}, "no item named"),
        (state(tensor(shape=(1 << 30,), strides=(0,))), EIGHT, "more than 16 times its"),
        (state(*[tensor(shape=(1500,), strides=(0,))] * 20), EIGHT, "more than 16 times its"),
        (b"}", {**EIGHT, "constants.pkl": b""}, "TorchScript"),
        (b"}", {"byteorder": b"big"}, "byte order is big"),
    ],
)
def test_tensors_that_their_storages_cannot_hold_are_refused(tmp_path, instructions, records, message):
    path = archive(tmp_path / "w.pth", instructions, records)
    with pytest.raises(WeightsError, match=message):
        files.read_torch(path)


NAMED = b"cos\nsystem\n"
REBUILD = b"ctorch._utils\n_rebuild_parameter\n"
NEST = b")" + b"\x85" * 200_000  # tuples in tuples
LAUGHS = b"]q\0" + b"".join(b"](" + b"h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(60))


@pytest.mark.parametrize(
    ("instructions", "message"),
    [
        (NAMED + b"X\x04\0\0\0true\x85R", "holds os.system"),
        (b"cbuiltins\neval\nX\x01\0\0\0\x31\x85R", "holds eval"),
        (b"ctorch\nload\nX\x01\0\0\0x\x85R", "holds torch.load"),
        (b"ctorch._utils\n_import_dotted_name\n)R", "holds torch._utils._import_dotted_name"),
        (REBUILD + b"}X\x08\0\0\0__code__Nsb", "sets attributes of Name"),
        (REBUILD + b")\x81", "instruction NEWOBJ"),
        (b"ctorch\nFloatStorage\n)R", "calls torch.FloatStorage"),
        (b"(ios\nsystem\n", "instruction INST"),
        (b"\x95\0\0\0\0\0\0\0\0}", "instruction FRAME"),
        (b"\x8c\x02os\x8c\x06system\x93", "instruction SHORT_BINUNICODE"),
        (b"X\x01\0\0\0aK\x01a", "APPEND on str, expected list"),
        (b"}" + NEST + b"Ns", "a key that is a tuple"),
        (b"c__builtin__\nset\n](" + NEST + b"e\x85R", "a key that is a tuple"),
        (LAUGHS, "found list"),
        (LAUGHS + b"q\x7ectorch\ndevice\nh\x7e\x85R", "found Name"),
        (NEST, "found tuple"),
        (b"N" * 2_000_000, "more than 1,000,000 steps"),
        (b"](" + b"K\x01" * 5000 + b"eq\0" + b"ccollections\nCounter\nq\x01h\x01h\0\x85R" * 5000, "steps|is not a readable"),
        (b"r\xff\xff\xff\x7f", "is not a readable"),
        (b"X\xff\xff\xff\xff", "is not a readable"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "is not a readable"),
        (b"0" * 5 + b"R", "instruction POP|is not a readable"),
        (b"t", "is not a readable"),
        (b"h\x07", "is not a readable"),
        (b"Ncollections\n", "is not a readable"),
        (b"X\x01\0\0\0aQ", "not a storage"),
        (b"", "is not a readable"),
    ],
)
def test_hostile_pickles_are_refused_at_once_and_run_nothing(tmp_path, instructions, message):
    path = archive(tmp_path / "w.pth", instructions)
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(WeightsError, match=message):
            files.read_torch(path)
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 30


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = archive(tmp_path / "w.pth", state(tensor(count=1 << 26)), {"data/0": bytes(4 << 26)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1e6
    with pytest.raises(WeightsError, match="its records are compressed"):
        files.read_torch(path)


def test_records_that_overlap_are_refused(tmp_path):
    path = archive(tmp_path / "w.pth", b"}", {f"data/{number}": bytes(1000) for number in range(3)})
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    with zipfile.ZipFile(path) as file:
        first = file.getinfo("archive/data/0").header_offset
        others = [file.getinfo(f"archive/data/{number}").header_offset for number in (1, 2)]
    head, tail = content[:directory], content[directory:]
    for offset in others:
        tail = tail.replace(struct.pack("<L", offset) + b"archive/data", struct.pack("<L", first) + b"archive/data")
    shorter = head[: others[0]] + tail
    shorter = shorter[:-6] + struct.pack("<L", others[0]) + shorter[-2:]
    path.write_bytes(shorter)
    with pytest.raises(WeightsError, match="larger than the file"):
        files.read_torch(path)


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


def test_a_pickle_of_something_else_is_told_apart(tmp_path):
    for content, message in [(pickle.dumps([1], 2) * 2, "not one of PyTorch's"), (b"hello", "neither a zip file nor")]:
        (tmp_path / "w.pth").write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            files.read_torch(tmp_path / "w.pth")
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as file:
        file.writestr("photo.png", b"")
    (tmp_path / "w.pth").write_bytes(buffer.getvalue())
    with pytest.raises(WeightsError, match=r"without data\.pkl"):
        files.read_torch(tmp_path / "w.pth")
