"""Images inside tar and Parquet files: the same answers as from the files unpacked, in parts, and with whatever is broken named."""

import io
import json
import re
import tarfile
import tracemalloc

import fsspec
import pytest

from lfm_jax.data import archives, prefetch
from lfm_jax.data.archives import members
from lfm_jax.data.listing import Passed

COUNT = 9  # images, of which the fifth is broken


@pytest.fixture(scope="module")
def photos(noise, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index in range(COUNT):
        noise(64, 64 - index % 3, seed=index, strength=20 if index % 2 else 255).save(folder / f"{index}.png")
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:100])
    return folder


def pack(folder, file, *, mode="w", images=None):
    """A tar as WebDataset's are: a label beside each image."""
    with tarfile.open(file, mode) as tar:
        for path in images or sorted(folder.iterdir()):
            label = tarfile.TarInfo(f"{path.stem}.cls")
            label.size = 1
            tar.addfile(label, io.BytesIO(b"1"))
            tar.add(path, path.name)
    return file


def table(folder, file, *, as_struct=True, column="image", paths=True):
    """A Parquet file as Hugging Face's are."""
    import pyarrow
    from pyarrow import parquet

    images = [path.read_bytes() for path in sorted(folder.iterdir())]
    names = [path.name if paths else None for path in sorted(folder.iterdir())]
    values = [{"bytes": data, "path": name} for data, name in zip(images, names, strict=True)] if as_struct else images
    parquet.write_table(pyarrow.table({column: values, "label": list(range(len(images)))}), file, row_group_size=2)
    return file


@pytest.fixture
def score(lfm, weights_file):
    """Scores paths and returns the run and its records."""

    def score(*argv):
        ran = lfm("predict", "--weights", weights_file, "--format=jsonl", *argv)
        return ran, [json.loads(line) for line in ran.out.splitlines()]

    return score


def answers(records):
    return [{name: value for name, value in record.items() if name != "path"} for record in records]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "bytes and path", "bytes", "another column"])
def test_an_archive_gives_the_records_of_its_files_unpacked_to_the_bit(kind, score, photos, tmp_path):
    _, unpacked = score(photos)
    if kind.startswith("tar"):
        archive = pack(photos, tmp_path / f"shard.{kind}", mode="w:gz" if kind.endswith("gz") else "w")
        names = [f"{index}.png" for index in range(COUNT)]
    else:
        archive = table(photos, tmp_path / "a.parquet", as_struct=kind != "bytes", column="jpg" if "another" in kind else "image")
        names = [f"{index}" if kind == "bytes" else f"{index}/{index}.png" for index in range(COUNT)]
    ran, packed = score(archive)
    assert [record["path"] for record in packed] == [f"{archive}/{name}" for name in names]
    assert answers(packed) == answers(unpacked)
    assert ran.status == 3
    assert f"1 could not be scored:\n  {packed[4]['path']}: " in ran.err
    assert ("archives: not read: 9 .cls" in ran.err) == kind.startswith("tar")


def test_batches_span_several_archives_and_files(score, photos, tmp_path):
    """So the logits are those of the files unpacked, to the bit, whatever is packed together."""
    files = sorted(photos.iterdir())
    first, last = (
        pack(photos, tmp_path / f"{name}.tar", images=images) for name, images in {"a": files[:3], "b": files[4:]}.items()
    )
    _, packed = score(first, files[3], last)
    _, unpacked = score(photos)
    assert answers(packed) == answers(unpacked)


def test_archives_are_scored_in_parts_and_finished_parts_are_kept(lfm, weights_file, photos, tmp_path):
    files = sorted(photos.iterdir())
    shards = [pack(photos, tmp_path / f"{index}.tar", images=files[index::3]) for index in range(3)]
    command = ["predict", "--weights", weights_file, "--parts=3", f"--out={tmp_path / 'parts'}", *shards]
    assert lfm(*command).status == 3
    parts = sorted((tmp_path / "parts").glob("part-*"))
    paths = [json.loads(line)["path"] for part in parts for line in part.read_text().splitlines()]
    assert paths == [f"{shard}/{path.name}" for index, shard in enumerate(shards) for path in files[index::3]]
    parts[1].unlink()
    parts[0].write_text("kept\n")
    again = lfm(*command)
    assert "2 of 3 parts are there already" in again.err
    assert parts[0].read_text() == "kept\n"
    assert len(parts[1].read_text().splitlines()) == 3
    assert lfm("predict", "--weights", weights_file, "--shard=2/3", f"--out={tmp_path / 'parts'}", *shards).status == 0


@pytest.mark.parametrize("pack_as", ["tar", "parquet"])
def test_an_archive_is_read_from_where_fsspec_reaches(pack_as, score, photos, tmp_path):
    archive = pack(photos, tmp_path / "a.tar") if pack_as == "tar" else table(photos, tmp_path / "a.parquet")
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/" + archive.name, archive.read_bytes())
    try:
        _, remote = score(f"memory://bucket/{archive.name}", "memory://bucket/gone.tar")
    finally:
        memory.rm("/bucket", recursive=True)
    _, local = score(archive)
    assert answers(remote[:-1]) == answers(local)
    assert remote[0]["path"].startswith(f"memory://bucket/{archive.name}/0")
    assert "gone.tar" in remote[-1]["path"] and remote[-1]["error"]


def damaged(photos, tmp_path):
    """Archives that are broken in one way each, with what is said of each and how many images come before."""
    whole = pack(photos, tmp_path / "whole.tar").read_bytes()
    packed = pack(photos, tmp_path / "whole.tgz", mode="w:gz").read_bytes()
    rows = table(photos, tmp_path / "whole.parquet").read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        headers = [member.offset for member in tar]
        data = tar.getmember("3.png").offset_data
    middle = headers[6] + 512 + 9  # in the file of an image
    zeros = whole[: headers[6]] + b"x" * 512 + whole[headers[6] + 512 :]
    return {
        "cut in an image.tar": (whole[: data + 100], "breaks off after 3 images: unexpected end of data", 3),
        "cut between two.tar": (whole[: headers[6]], "breaks off after 3 images: it ends without the mark of its end", 3),
        "damaged header.tar": (zeros, r"breaks off after 3 images: damaged header \(.*\)", 3),
        "cut.tgz": (packed[: len(packed) // 2], "breaks off after", None),
        "empty.tar": (b"", "not a tar file", 0),
        "not one.tar": (b"hello" * 1000, "not a tar file", 0),
        "an image.tar": ((photos / "0.png").read_bytes(), "not a tar file", 0),
        "cut.parquet": (rows[: len(rows) // 2], "magic bytes", 0),
        "not one.parquet": (b"x" * 100, "magic bytes|[Pp]arquet", 0),
        "flipped.parquet": (rows[:middle] + bytes([rows[middle] ^ 255]) + rows[middle + 1 :], "", None),
    }


def test_damaged_archives_are_named_and_the_rest_is_scored(score, photos, tmp_path):
    broken = damaged(photos, tmp_path)
    for name, (content, _, _) in broken.items():
        (tmp_path / name).write_bytes(content)
    ran, records = score(*(tmp_path / name for name in broken), tmp_path / "gone.tar", photos / "0.png")
    assert ran.status == 3
    assert records[-1]["path"] == str(photos / "0.png") and "error" not in records[-1]
    assert records[-2] == {"path": str(tmp_path / "gone.tar"), "error": "No such file or directory"}
    for name, (_, words, count) in broken.items():
        own = [record for record in records if record["path"].startswith(str(tmp_path / name))]
        if count is not None:
            assert len(own) == count + 1, (name, own)
            assert own[-1]["path"] == str(tmp_path / name)
            assert re.search(words, own[-1]["error"]), (name, own[-1])


def test_members_that_are_no_plain_image_files(tmp_path, photos):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(photos / "0.png", "./folder/0.png")
        tar.add(photos / "1.png", "__MACOSX/1.png")
        tar.add(photos / "2.png", "without_suffix")
        link = tarfile.TarInfo("3.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        huge = tarfile.TarInfo("4.png")
        huge.size = 1 << 40
        tar.addfile(huge)
    passed = Passed()
    found = list(members(str(tmp_path / "a.tar"), passed))
    assert [member.name.removeprefix(f"{tmp_path}/a.tar") for member in found] == [
        "/folder/0.png",
        "/without_suffix",
        "/3.png",
        "/4.png",
        "",
    ]
    assert ["not followed" in found[2].error, "over the limit" in found[3].error] == [True, True]
    assert passed == {"hidden files": 1}


@pytest.mark.parametrize(("kind", "size"), [(tarfile.GNUTYPE_LONGNAME, 1 << 33), (tarfile.REGTYPE, 1 << 60)])
def test_a_header_that_promises_more_than_there_can_be_is_refused_at_once(kind, size, tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, size
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    (member,) = members(str(tmp_path / "a.tar"))
    assert f"{size} bytes, over the limit of" in member.error


def test_rows_without_an_image_and_tables_without_a_column_of_images(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [None, {"bytes": None, "path": "elsewhere.png"}, {"bytes": b"x", "path": None}]
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    parquet.write_table(pyarrow.table({"image": pyarrow.array(rows, kind)}), tmp_path / "a.parquet")
    errors = [member.error for member in members(str(tmp_path / "a.parquet"))]
    assert errors == ["no image in this row", "this row holds the path of a file and not the file", ""]
    for columns in ({"a": [b"1"], "b": [b"2"]}, {"label": [1]}):
        parquet.write_table(pyarrow.table(columns), tmp_path / "b.parquet")
        (member,) = members(str(tmp_path / "b.parquet"))
        assert "expected a column image" in member.error and ", ".join(columns) in member.error


def test_few_images_of_an_archive_are_in_memory_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(prefetch, "MAX_BYTES_AHEAD", 3 << 20)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for index in range(60):
            image = tarfile.TarInfo(f"{index}.png")
            image.size = 1 << 20
            tar.addfile(image, io.BytesIO(bytes(image.size)))
    tracemalloc.start()
    try:
        read = prefetch.read_stream(lambda member: len(member.data), members(str(tmp_path / "a.tar")), threads=2, ahead=100)
        assert sum(read) == 60 << 20
        assert tracemalloc.get_traced_memory()[1] < 12 << 20
    finally:
        tracemalloc.stop()


def test_a_disk_that_fails_ends_the_run_and_leaves_no_part(lfm, weights_file, photos, tmp_path, monkeypatch):
    archive = pack(photos, tmp_path / "a.tar")

    def failing(path):
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(archives, "open_file", failing)
    ran = lfm("predict", "--weights", weights_file, "--parts=1", f"--out={tmp_path / 'parts'}", archive)
    assert ran.status == 2
    assert f"{archive} cannot be read any further (Input/output error)" in ran.err
    assert [file.name for file in (tmp_path / "parts").iterdir()] == ["shards.json"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_list_names_files_folders_and_archives(end, score, photos, tmp_path, monkeypatch):
    archive = pack(photos, tmp_path / "a b.tar")
    names = [str(photos / "1.png"), str(archive), str(photos)]
    (tmp_path / "list.txt").write_bytes(end.join(map(str.encode, names)) + end)
    _, given = score(*names)
    assert score(f"--list={tmp_path / 'list.txt'}")[1] == given
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "list.txt").read_bytes())))
    assert score("--list=-")[1] == given


def test_what_is_missing_is_named(lfm, weights_file, tmp_path):
    (tmp_path / "empty").touch()
    for argv, words in {
        (): "the PATH of an image or folder, or --list=FILE",
        (f"--list={tmp_path / 'empty'}",): "names no files",
        ("--list=gone.txt",): "--list=gone.txt: No such file",
        ("gs://bucket/photo.png",): "only archives are read",
        ("nowhere://bucket/a.tar", "--format=jsonl"): "nowhere",
    }.items():
        ran = lfm("predict", "--weights", weights_file, *argv)
        assert (ran.status, words in ran.err) == (2, True), ran.err
