"""Runs and weights in a bucket: a fake bucket on this machine, with all the libraries that talk to a real one."""

import json
import re
import signal
import subprocess

import fsspec.config
import numpy as np
import pytest

from lfm_jax import presets
from lfm_jax.errors import UserError, WeightsError
from lfm_jax.runtime import storage
from lfm_jax.training.loop import train_and_evaluate
from lfm_jax.weights import io as weights_io
from tests.helpers.gcs import FakeStorage
from tests.helpers.launching import LAUNCH, PRESET, environment, lines, losses, same_weights

RUN = "gs://bucket/runs/one"


@pytest.fixture(scope="module")
def bucket():
    fake = FakeStorage()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in fake.environment.items():
            patch.setenv(name, value)
        patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        yield fake
    fake.close()


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    path = tmp_path_factory.mktemp("preset") / "preset.py"
    path.write_text(PRESET)
    return path


def train(preset, workdir):
    train_and_evaluate(presets.load_config(str(preset)), workdir)


@pytest.fixture(scope="module")
def here(preset, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("here")
    train(preset, workdir)
    return workdir


@pytest.fixture(scope="module")
def stopped(bucket, preset):
    """The run's objects in the bucket after Ctrl-C, and the step it reported as saved. Afterwards the run was finished."""
    argv = ["lfm", "train", f"--config={preset}", f"--workdir={RUN}"]
    process = subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("step 12 "):
            process.send_signal(signal.SIGINT)
            break
    rest = process.communicate()[1]
    assert process.returncode == 143, rest
    assert "Traceback" not in rest
    assert "saving after this step; Ctrl-C once more ends the run at once, without saving" in rest
    step = int(re.search(r"a checkpoint of step (\d+) is saved", rest).group(1))
    before = dict(bucket.objects)
    train(preset, RUN)
    return before, step


def test_a_run_told_to_stop_leaves_everything_up_to_that_step_in_the_bucket(stopped):
    objects, step = stopped
    assert f"runs/one/checkpoints/last/{step}/commit_success.txt" in objects
    metrics = [json.loads(line) for line in objects["runs/one/metrics.jsonl"].decode().splitlines()]
    assert [line["step"] for line in metrics if line["split"] == "train"] == list(range(1, step + 1))
    assert json.loads(objects["runs/one/config.json"])["batch_size"] == 16


def test_a_run_stopped_and_resumed_in_a_bucket_ends_like_one_on_this_machine(stopped, bucket, here, tmp_path):
    there = bucket.download("runs/one", tmp_path)
    for split in ("train", "val"):
        assert lines(there, split) == lines(here, split)
    assert same_weights(there, here)
    files = [path.relative_to(here) for path in here.glob("test/*/*")]
    assert len(files) >= 5
    for path in files:
        assert (there / path).is_file(), path
        if path.name != "report.html":  # which names the command and the time
            assert (there / path).read_bytes() == (here / path).read_bytes(), path
    assert len(list((there / "tensorboard").glob("events*"))) == 2


def test_weights_in_a_bucket_are_accepted_wherever_weights_are(stopped, bucket, here, labelled_folder, lfm, tmp_path, monkeypatch):
    options = (f"--data={labelled_folder}", "--protocol=native")
    ran = lfm("evaluate", f"--weights={RUN}", "--out=gs://bucket/results", *options)
    assert ran.status == 0, ran.err
    assert ran.out == lfm("evaluate", f"--weights={here}", f"--out={tmp_path}", *options).out
    written = {path.relative_to(tmp_path).as_posix(): path for path in tmp_path.rglob("*") if path.is_file()}
    assert any(name.startswith("cells/") for name in written)
    for name, path in written.items():
        if name != "report.html":  # which names the command and the time
            assert bucket.objects[f"results/{name}"] == path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("lfm_jax.evaluation.cell_scoring.score", lambda *_, **__: pytest.fail("it was scored again"))
        assert lfm("evaluate", f"--weights={RUN}", "--out=gs://bucket/results", *options).out == ran.out
    at_best = weights_io.load(RUN).card.training["steps"]
    for path in (f"{RUN}/checkpoints/best", f"{RUN}/checkpoints/best/{at_best}"):
        assert weights_io.load(path).card == weights_io.load(here).card
    with pytest.raises(WeightsError, match="no weights at gs://bucket/nothing"):
        weights_io.load("gs://bucket/nothing")


def test_every_format_survives_the_way_to_a_bucket_and_back(tiny_detector, bucket, weights_file, lfm, noise, tmp_path):
    noise(64, 64).save(tmp_path / "photo.png")
    expected = lfm("predict", f"--weights={weights_file}", tmp_path).out
    source = weights_file
    for name in ("tiny.safetensors", "checkpoint", "tiny.pth", "again.safetensors"):
        target = f"gs://bucket/weights/{name}"
        assert lfm("convert", source, target).status == 0
        assert lfm("predict", f"--weights={target}", tmp_path).out == expected
        source = target
    bucket.put("weights/broken.safetensors", b"\0" * 9)
    with pytest.raises(WeightsError, match=r"^gs://bucket/weights/broken\.safetensors is not a readable safetensors file"):
        weights_io.load("gs://bucket/weights/broken.safetensors")


@pytest.mark.slow
@pytest.mark.full
def test_two_processes_share_a_bucket(bucket, here, preset, tmp_path):
    """Both save their arrays, and one writes the rest. At step 10 the last and the best checkpoint are due together."""
    argv = [LAUNCH / "local.sh", "-n", "2", "--devices-per-process", "1", f"--config={preset}", "--workdir=gs://bucket/two"]
    for steps in (10, 20):
        ran = subprocess.run([*argv, f"--config.steps={steps}"], env=environment(), capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr[-3000:]
    assert "resuming at step 10" in ran.stderr
    there = bucket.download("two", tmp_path)
    np.testing.assert_allclose(losses(there), losses(here), rtol=1e-4)
    assert len(list((there / "tensorboard").glob("events*"))) == 2


@pytest.mark.parametrize("damage", ["marker missing", "arrays cut short"])
def test_an_unfinished_save_in_a_bucket_is_skipped(stopped, bucket, here, preset, tmp_path, capsys, damage):
    _, step = stopped
    folder = f"runs/{damage.split()[0]}"
    for name, data in bucket.objects.copy().items():
        if name.startswith("runs/one/"):
            bucket.put(name.replace("runs/one", folder), data)
    last = f"{folder}/checkpoints/last"
    if damage == "marker missing":
        bucket.delete(f"{last}/20/commit_success.txt")
        assert weights_io.load(f"gs://bucket/{last}").card.training["steps"] == step
        with pytest.raises(WeightsError, match="last/20 is incomplete"):
            weights_io.load(f"gs://bucket/{last}/20")
    else:
        arrays = [name for name in bucket.objects if name.startswith(f"{last}/20/weights/") and "/d/" in name]
        assert arrays
        for name in arrays:
            bucket.put(name, bucket.objects[name][: len(bucket.objects[name]) // 2])
    train(preset, f"gs://bucket/{folder}")
    there = bucket.download(folder, tmp_path)
    assert lines(there) == lines(here)
    assert same_weights(there, here)
    moved = f"it is moved to gs://bucket/{folder}/checkpoints/set_aside-last-20" in capsys.readouterr().err
    assert moved == (damage == "arrays cut short")


def test_a_bucket_that_cannot_be_used_is_refused_with_advice(bucket, weights_file, lfm, preset, monkeypatch):
    for argv in (
        ("train", f"--config={preset}", "--workdir=s3://bucket/run"),
        ("predict", "--weights=s3://bucket/run", "photo.png"),
    ):
        ran = lfm(*argv)
        assert ran.status == 2
        assert "s3://bucket/run: expected a folder or gs://BUCKET/FOLDER; mount other buckets" in ran.err
    ran = lfm("train", f"--config={preset}", "--workdir=gs://another/run")
    assert ran.status == 1
    assert "gs://another cannot be reached: no such bucket" in ran.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"gs://bucket/run: a bucket needs gcsfs: pip install 'lfm_jax\[gcs\]'"):
        storage.as_path("gs://bucket/run")


def test_only_new_files_are_pushed_and_no_more_often_than_asked(bucket):
    with storage.Mirror(storage.as_path("gs://bucket/mirror")) as mirror:
        (mirror.folder / "a").mkdir()
        (mirror.folder / "a" / "one.txt").write_text("1")
        mirror.push(at_most_every=60)
        assert "mirror/a/one.txt" not in bucket.objects
        mirror.push()
        assert bucket.objects["mirror/a/one.txt"] == b"1"
        first = bucket.generations["mirror/a/one.txt"]
        (mirror.folder / "two.txt").write_text("2")
    assert bucket.objects["mirror/two.txt"] == b"2"
    assert bucket.generations["mirror/a/one.txt"] == first
