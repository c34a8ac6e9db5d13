"""`lfm data prepare`: every layout, the files' own bytes, left-out files named, any interruption made good."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lfm_jax.data.prepare.layout import find_parts
from lfm_jax.data.prepare.prepare import layout, prepare, tfds_builders, verify
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.data.sources.open import records
from lfm_jax.data.suites import SUITES
from lfm_jax.errors import DataError, UserError


def save(noise, folder, *, count=2, seed=0, side=40):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        noise(side, side, seed=seed + index).save(folder / f"{index}.{'png' if index % 2 else 'jpg'}")


def save_both(noise, folder, **options):
    save(noise, folder / "0_real", **options)
    save(noise, folder / "1_fake", **options, seed=50)


@pytest.fixture
def splits_root(noise, tmp_path):
    root = tmp_path / "data"
    for group in ("train/car", "train/cat", "val/car", "test/gan_a", "test/gan_b/dog"):
        save_both(noise, root / group)
    return root


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def tree(folder):
    """Path -> bytes of all that readers see: .prepare/ is for preparing."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def found(root, **options):
    return {(part.dataset, part.split): [example.path for example in part.examples] for part in find_parts(root, **options)}


def test_train_val_and_test_become_the_splits_of_one_data_set(splits_root, out, lfm):
    ran = lfm("data", "prepare", splits_root, out)
    assert ran.status == 0
    assert sorted(path.name for path in out.iterdir()) == [".prepare", "left_out.tsv", "real_fake_folder"]
    assert records.splits(records.choose(out)) == ("train", "val", "test")
    assert ran.out.count("real_fake_folder") == 3


def test_records_hold_the_files_bytes_and_facts(splits_root, out):
    prepare.prepare(splits_root, out)
    for split in ("train", "val", "test"):
        source = open_folder(splits_root / split)
        folder = records.choose(out)
        kept = records.TfdsRecords(folder, split)
        assert records.open_split(out, "", split).examples == source.examples
        assert len(kept) == len(source.examples)
        for index, example in enumerate(source.examples):
            data = (splits_root / split / example.path).read_bytes()
            facts = records.Facts.decode(kept[index])
            assert kept[index]["image"] == data
            assert (facts.sha256, facts.size) == (hashlib.sha256(data).hexdigest(), len(data))
            assert (facts.width, facts.height, facts.container) == (40, 40, "PNG" if example.path.endswith("png") else "JPEG")
    classes = [facts.class_name for facts in records.read_index(folder, "test")]
    assert classes == [""] * 4 + ["dog"] * 4
    assert {facts.class_name for facts in records.read_index(folder, "train")} == {"car", "cat"}


def test_suites_side_by_side_become_a_data_set_each_and_the_rest_another(noise, tmp_path):
    for group in (
        "ForenSynths/biggan",
        "ForenSynths_train_val/train/car",
        "ForenSynths_train_val/val/car",
        "gangen/AttGAN",
        "mine/gan_x",
    ):
        save_both(noise, tmp_path / group, count=1)
    there = found(tmp_path)
    assert set(there) == {
        ("forensynths", "test"),
        ("forensynths", "train"),
        ("forensynths", "val"),
        ("gangen_detection", "test"),
        ("real_fake_folder", "test"),
    }
    assert there["gangen_detection", "test"] == ["AttGAN/0_real/0.jpg", "AttGAN/1_fake/0.jpg"]
    assert there["real_fake_folder", "test"] == ["mine/gan_x/0_real/0.jpg", "mine/gan_x/1_fake/0.jpg"]
    assert set(found(tmp_path, suite="GANGen")) == {("gangen_detection", "test")}
    (part,) = (part for part in find_parts(tmp_path) if part.split == "train")
    assert {(e.suite, e.generator, part.class_of(e)) for e in part.examples} == {("ForenSynths", "progan", "car")}


def test_a_suite_may_be_the_root_itself_by_its_name_or_by_being_told(noise, tmp_path):
    save_both(noise, tmp_path / "GANGen-Detection/AttGAN", count=1)
    save_both(noise, tmp_path / "download/AttGAN", count=1)
    assert set(found(tmp_path / "GANGen-Detection")) == {("gangen_detection", "test")}
    assert set(found(tmp_path / "download")) == {("real_fake_folder", "test")}
    assert set(found(tmp_path / "download", suite="gangen_detection")) == {("gangen_detection", "test")}


def test_mistakes_are_named(noise, tmp_path, out, lfm):
    (tmp_path / "empty").mkdir()
    save_both(noise, tmp_path / "data/ForenSynths/biggan", count=1)
    (tmp_path / "file").write_text("")
    for argv, words in [
        ((tmp_path / "nowhere", out), "no data folder"),
        ((tmp_path / "empty", out), "no images to read"),
        ((tmp_path / "data", tmp_path / "file"), "cannot write to"),
        ((tmp_path / "data", out, "--suite=gangen-detektion"), "did you mean gangen_detection?"),
        ((tmp_path / "data", out, "--suite=gangen"), "there are ForenSynths"),
    ]:
        ran = lfm("data", "prepare", *argv)
        assert ran.status == 2
        assert words in ran.err


def test_a_disk_without_room_is_told_before_anything_is_written(splits_root, out, monkeypatch):
    monkeypatch.setattr(prepare, "ROOM", 1e12)
    with pytest.raises(UserError, match="GB are free"):
        prepare.prepare(splits_root, out)
    assert not records.find_prepared(out)


def test_one_split_in_two_folders_is_refused(noise, tmp_path):
    for name in ("GANGen", "gangen-detection"):
        save_both(noise, tmp_path / name / "AttGAN", count=1)
    with pytest.raises(DataError, match="twice"):
        find_parts(tmp_path)


def test_broken_files_are_left_out_and_listed(splits_root, out, lfm):
    broken = splits_root / "train/car/1_fake/1.png"
    broken.write_bytes(broken.read_bytes()[:100])
    (splits_root / "test/gan_a/0_real/0.jpg").write_text("")
    ran = lfm("data", "prepare", splits_root, out)
    assert ran.status == 3
    assert "2 left out" in ran.err
    lines = (out / "left_out.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[:3] for line in lines] == [
        ["real_fake_folder", "train", "car/1_fake/1.png"],
        ["real_fake_folder", "test", "gan_a/0_real/0.jpg"],
    ]
    assert lines[1].endswith("empty file (0 bytes)")
    assert len(records.open_split(out, "", "train").examples) == 7


def test_nothing_but_broken_files_is_an_error(splits_root, out):
    for path in (splits_root / "val").rglob("*.*"):
        path.write_text("x")
    with pytest.raises(DataError, match=r"not one of the 4 images .*not an image"):
        prepare.prepare(splits_root, out)


def test_run_again_on_finished_data_decodes_and_writes_nothing(splits_root, out, lfm, monkeypatch):
    lfm("data", "prepare", splits_root, out)
    before = tree(out)
    monkeypatch.setattr(verify, "opened", None)
    monkeypatch.setattr(prepare, "_build", None)
    ran = lfm("data", "prepare", splits_root, out)
    assert (ran.status, ran.out.count("already there, verified")) == (0, 3)
    assert tree(out) == before


def test_a_changed_new_or_missing_file_is_noticed(splits_root, out, noise, lfm):
    lfm("data", "prepare", splits_root, out)
    noise(40, 40, seed=99).save(splits_root / "train/car/0_real/1.png")
    (splits_root / "val/car/0_real/1.png").unlink()
    save(noise, splits_root / "test/gan_c/0_real", count=1)
    ran = lfm("data", "prepare", splits_root, out)
    assert "prepared again" in ran.err
    shutil.rmtree(out.parent / "fresh", ignore_errors=True)
    prepare.prepare(splits_root, out.parent / "fresh")
    assert tree(out) == tree(out.parent / "fresh")


def test_damaged_records_are_noticed_and_written_again(splits_root, out, lfm):
    lfm("data", "prepare", splits_root, out)
    before = tree(out)
    (records_file,) = records.choose(out).glob("*-train.array_record*")
    data = bytearray(records_file.read_bytes())
    data[2000:2100] = bytes(100)
    records_file.write_bytes(data)
    assert "prepared again" in lfm("data", "prepare", splits_root, out).err
    assert tree(out) == before


class Cut(BaseException):
    """An interruption, as Ctrl-C is one."""


def cut(monkeypatch, module, name, calls):
    """The function is cut short at its `calls`-th call."""
    original, count = getattr(module, name), iter(range(1, 10**6))

    def interrupted(*args, **kwargs):
        if next(count) == calls:
            raise Cut
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, interrupted)


@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [
        (verify, "Facts", 9),
        (tfds_builders, "read", 1),
        (tfds_builders, "read", 11),
        (prepare, "write_index", 2),
        (prepare, "_first_wrong", 1),
        (prepare, "_publish", 1),
        (prepare, "_write_left_out", 1),
    ],
)
def test_cut_short_anywhere_it_goes_on_to_the_same_end(module, name, calls, splits_root, out, tmp_path, monkeypatch):
    prepare.prepare(splits_root, tmp_path / "whole")
    with monkeypatch.context() as patch:
        cut(patch, module, name, calls)
        with pytest.raises(Cut):
            prepare.prepare(splits_root, out)
        assert not records.find_prepared(out) or name == "_write_left_out"
    looked_at = []
    original = verify.look_at
    monkeypatch.setattr(verify, "look_at", lambda file: looked_at.append(file) or original(file))
    prepare.prepare(splits_root, out)
    assert tree(out) == tree(tmp_path / "whole")
    assert len(looked_at) <= (12 if name == "Facts" else 0)


def test_killed_it_goes_on_to_the_same_end(noise, tmp_path, out):
    root = tmp_path / "data"
    save_both(noise, root / "gan_a", count=60, side=200)
    child = subprocess.Popen([sys.executable, "-m", "lfm_jax", "data", "prepare", str(root), str(out)])
    journal, deadline = out / ".prepare/journal.jsonl", time.monotonic() + 60
    while not (journal.exists() and journal.stat().st_size > 4000):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not records.find_prepared(out)
    with open(journal, "a") as file:
        file.write('{"file": "/cut/sho')
    prepare.prepare(root, out)
    prepare.prepare(root, tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")
    files = [json.loads(line)["file"] for line in journal.read_text().splitlines()]
    assert len(files) == len(set(files)) == 120


def test_a_file_that_changes_on_the_way_ends_it_and_is_looked_at_again(splits_root, out, noise, monkeypatch):
    file = splits_root / "train/car/0_real/1.png"
    stat = file.stat()
    prepare_build = prepare._build

    def change(*args):
        noise(40, 40, seed=77).save(file)
        file.write_bytes(file.read_bytes().ljust(stat.st_size, b"\0")[: stat.st_size])
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a copying tool would leave it
        return prepare_build(*args)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "_build", change)
        with pytest.raises(UserError, match=r"1\.png changed while it was being prepared"):
            prepare.prepare(splits_root, out)
    prepare.prepare(splits_root, out)
    assert file.read_bytes() in {
        record["image"] for record in map(records.TfdsRecords(records.choose(out), "train").__getitem__, range(8))
    }


def test_two_at_once_in_one_folder_are_refused(splits_root, out):
    with prepare._workshop(out), pytest.raises(UserError, match="at work"):
        prepare.prepare(splits_root, out)


def test_large_splits_are_written_in_several_files_in_order(splits_root, out, monkeypatch):
    monkeypatch.setattr(tfds_builders, "SHARD_BYTES", 10_000)
    prepare.prepare(splits_root, out)
    assert len(list(records.choose(out).glob("*-train.array_record*"))) > 1
    assert records.RecordSource(records.TfdsRecords(records.choose(out), "train"), name="").examples == (
        open_folder(splits_root / "train").examples
    )


def test_a_builder_alone_prepares_what_is_in_manual_dir(splits_root, out):
    import tensorflow_datasets as tfds

    builder = tfds_builders.BUILDERS[layout.GENERIC](data_dir=str(out), file_format="array_record")
    builder.download_and_prepare(
        download_dir=str(out / "downloads"), download_config=tfds.download.DownloadConfig(manual_dir=str(splits_root))
    )
    assert records.open_split(out, "", "train").examples == open_folder(splits_root / "train").examples


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_each_suite_is_prepared_read_and_evaluated_as_from_its_folder(suite, noise, tmp_path, out, weights_file, lfm):
    root = tmp_path / "data"
    for generator in suite.generators:
        for name in ("car", "cat") if generator in suite.with_classes else ("",):
            save_both(noise, root / suite.name / generator / name, count=1)
    assert lfm("data", "prepare", root, out).status == 0
    assert sorted(records.find_prepared(out)) == [suite.dataset]
    source = records.open_all(out, "test")
    assert {(example.suite, example.generator) for example in source.examples} == {(suite.name, name) for name in suite.generators}
    tables = []
    for data in (root / suite.name, out, out / suite.dataset):
        ran = lfm("evaluate", f"--weights={weights_file}", f"--data={data}", "--protocol=native")
        assert ran.status == 0
        tables.append(ran.out)
    assert tables[0] == tables[1] == tables[2]
    assert all(name in tables[0] for name in suite.generators)
