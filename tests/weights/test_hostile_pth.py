"""`.pth` files that are no honest weights: refused at once, by name, and nothing in them is run."""

import io
import pickle
import struct
import time
import tracemalloc
import zipfile

import pytest

from lfm_jax.errors import WeightsError
from lfm_jax.weights import files, pth


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
