"""--config and --config.FIELD: what they change, and what is refused before anything runs."""

import pytest

import lfm_jax.training.loop


@pytest.fixture
def preset(tmp_path):
    """preset("config.batch_size = 4") -> a preset file that changes this."""

    def save(*lines):
        body = "".join(f"    {line}\n" for line in ("config = base()", "config.steps = 1", *lines, "return config"))
        path = tmp_path / "preset.py"
        path.write_text(f"from lfm_jax.config import base\n\n\ndef get_config():\n{body}")
        return path

    return save


@pytest.fixture
def trained(monkeypatch):
    """What `lfm train` would have trained: [(config, workdir)]."""
    calls = []
    monkeypatch.setattr(lfm_jax.training.loop, "train_and_evaluate", lambda config, workdir: calls.append((config, workdir)))
    return calls


def refused(ran, *words):
    """Exit status 2, nothing on stdout, and these words in a short message on stderr."""
    assert (ran.status, ran.out) == (2, "")
    for word in words:
        assert word in ran.err, ran.err
    assert len(ran.err[ran.err.index("lfm") :].splitlines()) <= 8


def test_train_takes_the_preset_and_the_fields_changed(lfm, preset, trained, tmp_path):
    preset_file = preset("config.batch_size = 4", "config.data.crop = 96")
    changes = ["--config.batch_size=8", "--config.optim.lr=0.5", "--config.model.widths=(4,8,8,8)", "--config.data.root", "/data"]
    ran = lfm("train", "--config", preset_file, "--workdir", tmp_path / "run", *changes, "--config.eval.test=false")
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    ((config, workdir),) = trained
    assert str(workdir) == str(tmp_path / "run")
    assert (config.batch_size, config.optim.lr, config.data.root) == (8, 0.5, "/data")
    assert tuple(config.model.widths) == (4, 8, 8, 8)
    assert config.data.crop == 96
    assert config.eval.test is False
    assert config.seed == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--config.batchsize=8"], ["batchsize", "batch_size"]),
        (["--config.batchsize", "8"], ["batchsize", "batch_size"]),
        (["--config.data.rot=/d"], ["rot", "root"]),
        (["--config.modl.maps=8"], ["modl", "model"]),
        (["--config.batch_size=many"], ["config.batch_size", "many"]),
        (["--config.optim.lr=fast"], ["config.optim.lr", "fast"]),
        (["--config.eval.test=perhaps"], ["config.eval.test", "perhaps"]),
        (["--config.FIELD=1"], ["FIELD"]),
        (["stray"], ["stray"]),
        (["--confg.batch_size=8"], ["--confg.batch_size"]),
    ],
    ids="_".join,
)
def test_a_wrong_field_or_value_is_named_before_anything_runs(change, words, lfm, preset, trained, tmp_path):
    refused(lfm("train", "--config", preset(), "--workdir", tmp_path / "run", *change), *words)
    assert trained == []
    assert not (tmp_path / "run").exists()


def test_a_field_misspelt_in_the_preset_is_named(lfm, preset, trained, tmp_path):
    refused(lfm("train", "--config", preset("config.batchsize = 8"), "--workdir", tmp_path / "run"), "batchsize", "batch_size")
    assert trained == []


def test_a_missing_preset_is_named(lfm, tmp_path):
    ran = lfm("train", "--config", tmp_path / "gone.py", "--workdir", tmp_path / "run")
    refused(ran, str(tmp_path / "gone.py"), "no such file")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("--config.steps=0", ["config.steps"]),
        ("--config.data.source=parquet", ["config.data.source", "'parquet'", "synthetic"]),
        ("--config.data.root=", ["config.data.root"]),
        ("--config.data.root=/no/such/folder", ["config.data.root", "/no/such/folder"]),
        ("--config.model.backbone=resnet", ["config.model.backbone", "'resnet'", "snet"]),
        ("--config.optim.name=sgd", ["config.optim.name", "'sgd'", "adam"]),
        ("--config.eval.protocol=crp224", ["crp224", "native"]),
        ("--config.eval.predict_protocol=crp224", ["crp224", "native"]),
    ],
)
def test_a_config_that_cannot_run_is_refused_before_it_trains(change, words, lfm, preset, noise, tmp_path, monkeypatch):
    """A slip in the protocol must come to light neither at the first validation nor when the weights are used."""
    for split in ("train", "val"):
        for label in ("0_real", "1_fake"):
            (tmp_path / "data" / split / "car" / label).mkdir(parents=True)
            noise(8, 8).save(tmp_path / "data" / split / "car" / label / "1.png")
    monkeypatch.setattr(lfm_jax.training.loop, "fit", lambda *_: pytest.fail("it was trained"))
    monkeypatch.setattr("lfm_jax.models.init", lambda *_: pytest.fail("it was trained"))
    options = [f"--config.data.root={tmp_path / 'data'}", "--config.batch_size=8", change]
    ran = lfm("train", "--config", preset(), "--workdir", tmp_path / "run", *options)
    assert ran.status == 2
    for word in words:
        assert word in ran.err
