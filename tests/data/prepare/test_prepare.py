"""`lfm data prepare`: every layout, the unchanged bytes of the files, left-out files named, any interruption recovered from."""

import csv
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from lfm_jax.data.prepare import build, prepare, tfds_builders, verify
from lfm_jax.data.prepare.layout import GENERIC, find_parts
from lfm_jax.data.prepare.prepare import prepare_folder
from lfm_jax.data.sources import records
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.data.suites import SUITES
from lfm_jax.errors import DataError, UserError
from lfm_jax.runtime import open_files


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
    """The bytes of every file that readers see, by path; .prepare/ is not for them."""
    files = [path for path in folder.rglob("*") if path.is_file() and ".prepare" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def paths_of_splits(root, **options):
    """{(data set, split): [path]}"""
    return {(part.dataset, part.split): [example.path for example in part.examples] for part in find_parts(root, **options)}


def test_train_val_and_test_become_the_splits_of_one_data_set(splits_root, out, lfm):
    ran = lfm("data", "prepare", splits_root, out)
    assert ran.status == 0
    assert sorted(path.name for path in out.iterdir()) == [".prepare", "left_out.tsv", "real_fake_folder"]
    assert records.splits_of(records.find_one_prepared(out)) == ("train", "val", "test")
    assert ran.out.count("real_fake_folder") == 3


def test_records_hold_the_files_bytes_and_facts(splits_root, out):
    prepare_folder(splits_root, out)
    for split in ("train", "val", "test"):
        source = open_folder(splits_root / split)
        folder = records.find_one_prepared(out)
        written = records.TfdsRecords(folder, split)
        assert records.open_prepared_split(out, "", split).examples == source.examples
        assert len(written) == len(source.examples)
        for index, example in enumerate(source.examples):
            data = (splits_root / split / example.path).read_bytes()
            facts = records.Facts.decode(written[index])
            assert written[index]["image"] == data
            assert (facts.sha256, facts.size) == (hashlib.sha256(data).hexdigest(), len(data))
            assert (facts.width, facts.height, facts.container) == (40, 40, "PNG" if example.path.endswith("png") else "JPEG")
    classes = [facts.class_name for facts in records.read_index(folder, "test")]
    assert classes == [""] * 4 + ["dog"] * 4
    assert {facts.class_name for facts in records.read_index(folder, "train")} == {"car", "cat"}


def test_each_suite_becomes_a_data_set_and_all_other_folders_become_one_more(noise, tmp_path):
    for group in (
        "ForenSynths/biggan",
        "ForenSynths_train_val/train/car",
        "ForenSynths_train_val/val/car",
        "gangen/AttGAN",
        "mine/gan_x",
    ):
        save_both(noise, tmp_path / group, count=1)
    splits = paths_of_splits(tmp_path)
    assert set(splits) == {
        ("forensynths", "test"),
        ("forensynths", "train"),
        ("forensynths", "val"),
        ("gangen_detection", "test"),
        ("real_fake_folder", "test"),
    }
    assert splits["gangen_detection", "test"] == ["AttGAN/0_real/0.jpg", "AttGAN/1_fake/0.jpg"]
    assert splits["real_fake_folder", "test"] == ["mine/gan_x/0_real/0.jpg", "mine/gan_x/1_fake/0.jpg"]
    assert set(paths_of_splits(tmp_path, suite="GANGen")) == {("gangen_detection", "test")}
    (part,) = (part for part in find_parts(tmp_path) if part.split == "train")
    assert {(e.suite, e.generator, part.class_of(e)) for e in part.examples} == {("ForenSynths", "progan", "car")}


def test_the_root_itself_may_be_a_suite_by_its_name_or_by_the_argument(noise, tmp_path):
    save_both(noise, tmp_path / "GANGen-Detection/AttGAN", count=1)
    save_both(noise, tmp_path / "download/AttGAN", count=1)
    assert set(paths_of_splits(tmp_path / "GANGen-Detection")) == {("gangen_detection", "test")}
    assert set(paths_of_splits(tmp_path / "download")) == {("real_fake_folder", "test")}
    assert set(paths_of_splits(tmp_path / "download", suite="gangen_detection")) == {("gangen_detection", "test")}


def test_mistakes_are_explained(noise, tmp_path, out, lfm):
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


def test_a_disk_without_room_is_reported_before_anything_is_written(splits_root, out, monkeypatch):
    monkeypatch.setattr(build, "ROOM", 1e12)
    with pytest.raises(UserError, match="GB are free"):
        prepare_folder(splits_root, out)
    assert not records.find_prepared(out)


def test_one_split_in_two_folders_is_an_error(noise, tmp_path):
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
    assert len(records.open_prepared_split(out, "", "train").examples) == 7


def test_nothing_but_broken_files_is_an_error(splits_root, out):
    for path in (splits_root / "val").rglob("*.*"):
        path.write_text("x")
    with pytest.raises(DataError, match=r"not one of the 4 images .*not an image"):
        prepare_folder(splits_root, out)


def test_run_again_on_finished_data_decodes_and_writes_nothing(splits_root, out, lfm, monkeypatch):
    lfm("data", "prepare", splits_root, out)
    before = tree(out)
    monkeypatch.setattr(verify, "opened", None)
    monkeypatch.setattr(prepare, "write_data_set", None)
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
    prepare_folder(splits_root, out.parent / "fresh")
    assert tree(out) == tree(out.parent / "fresh")


def test_damaged_records_are_noticed_and_written_again(splits_root, out, lfm):
    lfm("data", "prepare", splits_root, out)
    before = tree(out)
    (records_file,) = records.find_one_prepared(out).glob("*-train.array_record*")
    data = bytearray(records_file.read_bytes())
    data[2000:2100] = bytes(100)
    records_file.write_bytes(data)
    assert "prepared again" in lfm("data", "prepare", splits_root, out).err
    assert tree(out) == before


class Interruption(BaseException):
    """Passes through every `except Exception`, as Ctrl-C does."""


def interrupt(monkeypatch, module, name, call):
    """Interrupts the program at that call of a function, counted from 1."""
    original, count = getattr(module, name), iter(range(1, 10**6))

    def interrupted(*args, **kwargs):
        if next(count) == call:
            raise Interruption
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, interrupted)


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (verify, "Facts", 9),
        (tfds_builders, "read", 1),
        (tfds_builders, "read", 11),
        (build, "write_index", 2),
        (prepare, "first_damage", 1),
        (prepare, "publish", 1),
        (csv, "writer", 1),
    ],
)
def test_interrupted_anywhere_it_resumes_and_ends_the_same(module, name, call, splits_root, out, tmp_path, monkeypatch):
    prepare_folder(splits_root, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, module, name, call)
        with pytest.raises(Interruption):
            prepare_folder(splits_root, out)
        assert not records.find_prepared(out) or module is csv  # left_out.tsv comes last
    inspected = []
    original = verify.inspect_file
    monkeypatch.setattr(verify, "inspect_file", lambda file: inspected.append(file) or original(file))
    prepare_folder(splits_root, out)
    assert tree(out) == tree(tmp_path / "whole")
    assert len(inspected) <= (12 if name == "Facts" else 0)


def test_killed_it_resumes_and_ends_the_same(noise, tmp_path, out):
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
    prepare_folder(root, out)
    prepare_folder(root, tmp_path / "whole")
    assert tree(out) == tree(tmp_path / "whole")
    files = [json.loads(line)["file"] for line in journal.read_text().splitlines()]
    assert len(files) == len(set(files)) == 120


def test_a_file_that_changes_meanwhile_ends_it_and_is_inspected_again(splits_root, out, noise, monkeypatch):
    file = splits_root / "train/car/0_real/1.png"
    stat = file.stat()
    write_data_set = prepare.write_data_set

    def change_and_write(*args, **options):
        noise(40, 40, seed=77).save(file)
        file.write_bytes(file.read_bytes().ljust(stat.st_size, b"\0")[: stat.st_size])
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a copying tool would leave it
        return write_data_set(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_data_set", change_and_write)
        with pytest.raises(UserError, match=r"1\.png changed while it was being prepared"):
            prepare_folder(splits_root, out)
    prepare_folder(splits_root, out)
    assert file.read_bytes() in {
        record["image"] for record in map(records.TfdsRecords(records.find_one_prepared(out), "train").__getitem__, range(8))
    }


def test_a_second_process_in_the_same_folder_is_refused(splits_root, out):
    (out / ".prepare").mkdir(parents=True)
    with open(out / ".prepare/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="at work"):
            prepare_folder(splits_root, out)


def test_large_splits_are_written_in_several_files_in_order(splits_root, out, monkeypatch):
    monkeypatch.setattr(tfds_builders, "SHARD_BYTES", 10_000)
    prepare_folder(splits_root, out)
    assert len(list(records.find_one_prepared(out).glob("*-train.array_record*"))) > 1
    assert records.RecordSource(records.TfdsRecords(records.find_one_prepared(out), "train"), name="").examples == (
        open_folder(splits_root / "train").examples
    )


def test_more_files_of_records_than_may_be_open_raise_the_limit_and_never_pass_for_damage(splits_root, out, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_builders, "SHARD_BYTES", 1)
    monkeypatch.setattr(open_files, "SPARE", 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    now_open = len(os.listdir("/dev/fd"))  # noqa: PTH208
    root = tmp_path / "many"
    shutil.copytree(splits_root / "test/gan_a", root / "gan")
    for index in range(2 * now_open):
        shutil.copy(root / "gan/0_real/0.jpg", root / f"gan/0_real/copy{index}.jpg")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2 * now_open, hard))
        prepare_folder(root, out)
        with monkeypatch.context() as patch:  # where the hard limit is no higher
            resource.setrlimit(resource.RLIMIT_NOFILE, (2 * now_open, hard))
            patch.setattr(resource, "setrlimit", lambda *_: None)
            with pytest.raises(UserError, match=r"cannot be read: it has \d+ files, .*raise ulimit -n"):
                prepare_folder(root, out)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [prepared.written for prepared in prepare_folder(root, out)] == [False]


def test_a_tfds_builder_by_itself_prepares_what_is_in_manual_dir(splits_root, out):
    import tensorflow_datasets as tfds

    builder = tfds_builders.BUILDERS[GENERIC](data_dir=str(out), file_format="array_record")
    builder.download_and_prepare(
        download_dir=str(out / "downloads"), download_config=tfds.download.DownloadConfig(manual_dir=str(splits_root))
    )
    assert records.open_prepared_split(out, "", "train").examples == open_folder(splits_root / "train").examples


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_each_suite_once_prepared_gives_the_same_table_as_its_folder(suite, noise, tmp_path, out, weights_file, lfm):
    root = tmp_path / "data"
    for generator in suite.generators:
        for name in ("car", "cat") if generator in suite.with_classes else ("",):
            save_both(noise, root / suite.name / generator / name, count=1)
    assert lfm("data", "prepare", root, out).status == 0
    assert sorted(records.find_prepared(out)) == [suite.dataset]
    source = records.open_prepared(out, "test")
    assert {(example.suite, example.generator) for example in source.examples} == {(suite.name, name) for name in suite.generators}
    tables = []
    for data in (root / suite.name, out, out / suite.dataset):
        ran = lfm("evaluate", f"--weights={weights_file}", f"--data={data}", "--protocol=native")
        assert ran.status == 0
        tables.append(ran.out)
    assert tables[0] == tables[1] == tables[2]
    assert all(name in tables[0] for name in suite.generators)
