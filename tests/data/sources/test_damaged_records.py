"""Damaged prepared data: a broken record is a broken image, and what is damaged besides is named and prepared again."""

import json
import shutil

import pytest

from lfm_jax import config
from lfm_jax.data.images import ImageError
from lfm_jax.data.pipeline import TrainPipeline
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources import records
from lfm_jax.data.sources.open import open_split
from lfm_jax.errors import DataError

IMAGES = 30  # of each label: more than the sample that prepare reads back


@pytest.fixture(scope="module")
def root(noise, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for label in ("0_real", "1_fake"):
        folder = root / "train/car" / label
        folder.mkdir(parents=True)
        for index in range(IMAGES):
            noise(40, 40, seed=index + 100 * (label == "1_fake")).save(folder / f"{index:02d}.png")
    return root


@pytest.fixture(scope="module")
def intact(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("intact")
    prepare_folder(root, out)
    return out


@pytest.fixture
def out(intact, tmp_path):
    shutil.copytree(intact, tmp_path / "out")
    return tmp_path / "out"


def opened(out):
    data = config.data()
    data.update({"source": "tfds", "root": str(out), "resize": 0, "crop": 32, "threads": 1, "prefetch": 1, "max_broken_share": 0.5})
    return open_split(data, "train", seed=0), data


def flip_a_record(out, content):
    """Damages the record that holds these bytes."""
    (file,) = records.find_one_prepared(out).glob("*-train.array_record*")
    data = bytearray(file.read_bytes())
    data[data.index(content[100:200]) + 5] ^= 1
    file.write_bytes(data)


def index_of(out):
    return records.index_file(records.find_one_prepared(out), "train")


def test_a_broken_record_is_a_broken_image(root, out):
    flip_a_record(out, (root / "train/car/0_real/05.png").read_bytes())
    source, data = opened(out)
    broken = []
    for place in range(len(source.examples)):
        try:
            source.image(place)
        except ImageError as error:
            broken.append(str(error))
    assert broken and "cannot be read" in broken[0]
    pipeline = TrainPipeline(source, data, seed=0)
    assert [pipeline[position]["image"].shape for position in range(2 * IMAGES)] == [(32, 32, 3)] * 2 * IMAGES
    assert len(pipeline.broken) == len(broken)


def test_a_whole_check_finds_what_the_sample_misses(root, out, lfm):
    flip_a_record(out, (root / "train/car/0_real/05.png").read_bytes())
    assert "already there, verified" in lfm("data", "prepare", root, out).out
    assert "is prepared again: " in lfm("data", "prepare", root, out, "--whole").err
    assert lfm("data", "prepare", root, out, "--whole").out.count("already there, verified") == 1


def test_data_check_reads_every_record_of_prepared_data_without_the_images(root, out, lfm, tmp_path):
    ran = lfm("data", "check", out)
    assert (ran.status, ran.err) == (0, "")
    assert "## 60 images in" in ran.out and "## Problems\n\nnone" in ran.out
    flip_a_record(out, (root / "train/car/0_real/05.png").read_bytes())
    ran = lfm("data", "check", out, f"--out={tmp_path / 'report'}")
    assert (ran.status, "problems; " in ran.err) == (3, True)
    problems = json.loads((tmp_path / "report/check.json").read_text())["problems"]
    assert "car/0_real/05.png" in [problem["where"].partition("/train/")[2] for problem in problems]
    assert {problem["kind"] for problem in problems} == {"broken record"}


@pytest.mark.parametrize(("field", "value"), [("label", 1), ("path", "car/0_real/99.png"), ("sha256", "0"), ("generator", "b")])
def test_an_index_that_contradicts_its_records_is_refused_when_they_are_read(field, value, out):
    lines = index_of(out).read_text().splitlines()
    lines[3] = json.dumps({**json.loads(lines[3]), field: value})
    index_of(out).write_text("\n".join(lines) + "\n")
    source, data = opened(out)
    source.image(2)
    with pytest.raises(DataError, match=r"record 3 of .*its index says .*prepare the data again"):
        source.image(3)
    with pytest.raises(DataError, match="record 3"):
        for position in range(2 * IMAGES):
            TrainPipeline(source, data, seed=0)[position]


def damaged_line(line, field, value):
    return json.dumps({**json.loads(line), field: value}).encode()


DAMAGES = {
    "garbage": lambda line: b"{",
    "NUL bytes": lambda line: bytes(len(line)),
    "cut": lambda line: line[: len(line) // 2],
    "not an object": lambda line: b"[1, 2]",
    "deeply nested": lambda line: b"[" * 100_000,
    "not text": lambda line: b"\xff\xfe" + line,
    "a label of 7": lambda line: damaged_line(line, "label", 7),
    "a label of null": lambda line: damaged_line(line, "label", None),
    "a field too many": lambda line: damaged_line(line, "more", 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_index_is_refused_naming_the_line_and_written_again(damage, root, out, intact, lfm):
    lines = index_of(out).read_bytes().splitlines()
    lines[3] = damage(lines[3])
    index_of(out).write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(DataError, match=r"index_train\.jsonl is damaged in line 4 .*prepare the data again"):
        opened(out)
    assert "is prepared again: " in lfm("data", "prepare", root, out).err
    assert index_of(out).read_bytes() == index_of(intact).read_bytes()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", bytes(100), b'{"name": 3}'])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_damaged_description_is_refused_and_written_again(name, content, root, out, lfm):
    file = records.find_one_prepared(out) / name
    file.write_bytes(content)
    try:
        opened(out)
    except DataError as error:
        assert str(file.parent) in str(error) and "\n" not in str(error)
    ran = lfm("data", "prepare", root, out)
    assert (ran.status, "Traceback" in ran.err) == (0, False)
    assert len(opened(out)[0].examples) == 2 * IMAGES


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_journal_costs_no_more_than_reading_its_files_again(damage, root, out, lfm):
    journal = out / ".prepare/journal.jsonl"
    lines = journal.read_bytes().splitlines()
    lines[3] = damage(lines[3]) if damage not in (DAMAGES["a label of 7"], DAMAGES["a label of null"]) else b"null"
    journal.write_bytes(b"\n".join(lines) + b"\n")
    ran = lfm("data", "prepare", root, out)
    assert (ran.status, "1 of 60 lines are damaged" in ran.err, "already there, verified" in ran.out) == (0, True, True)
    assert lfm("data", "prepare", root, out).err == ""
    assert len(journal.read_bytes().splitlines()) == 2 * IMAGES
