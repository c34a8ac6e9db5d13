"""The command line: help that is short and complete, and mistakes answered with what was meant."""

import re

import pytest

import lfm_jax
import lfm_jax.training.loop
from lfm_jax.cli import build_parser
from lfm_jax.data.sources.open import open

CLUSTER = ["--coordinator", "--num_processes", "--process_id", "--cluster"]
OPTIONS = {
    "train": ["--config", "--config.FIELD", "--workdir", *CLUSTER],
    "evaluate": [
        *("--weights", "--data", "--protocol", "--views", "--robustness", "--keep_mib", "--out", "--batch_size", "--threads"),
        *CLUSTER,
    ],
    "calibrate": ["--weights", "--data", "--out", "--protocol", "--view", "--objective", "--force", "--batch_size", "--threads"],
    "compare": ["DIR_A", "DIR_B", "--metric", "--json", "--out"],
    "sweep": ["--config", "--config.FIELD", "--out", "--only", "--index", "--collect"],
    "compile": ["--config", "--config.FIELD", "--topology"],
    "predict": ["PATH", "--weights", "--protocol", "--format", "--out", "--batch_size", "--threads"],
    "convert": ["SRC", "DST"],
    "explain": ["PATH", "--weights", "--out", "--protocol", "--entries"],
    "export": ["DST", "--weights", "--format", "--side"],
    "demo": ["--weights", "--port", "--host", "--out"],
    "data check": ["ROOT", "--out", "--threads"],
    "data prepare": ["ROOT", "OUT", "--suite", "--threads"],
    "data look": ["--config", "--config.FIELD", "--out", "--images", "--draws"],
    "bench": ["WHAT", "--weights", "--batch_size", "--dtype", "--side", "--data", "--seconds", "--json"],
}
PROTOCOLS = ["native", "resize256", "crop224", "crop256", "crop224_pad", "crop256_pad", "resize256_crop224"]


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


def test_help_names_every_verb_with_a_summary(lfm):
    ran = lfm("--help")
    assert (ran.status, ran.err) == (0, "")
    for verb in OPTIONS:
        assert re.search(rf"^ +{verb}\s+\w+", ran.out, re.MULTILINE)
    assert len(ran.out.splitlines()) <= len(OPTIONS) + 11  # a line a verb, one that wraps, and ten around them


@pytest.mark.parametrize("verb", OPTIONS)
def test_help_of_a_verb_explains_each_option_on_one_screen(verb, lfm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    ran = lfm(verb, "--help")
    assert (ran.status, ran.err) == (0, "")
    for option in OPTIONS[verb]:
        assert re.search(rf"^ +{re.escape(option)}(?= )[^\n]*\s+\w", ran.out, re.MULTILINE), option
    assert len(ran.out.splitlines()) <= 26
    known = {name for action in build_parser()[1][verb]._actions for name in action.option_strings or [action.metavar]}
    assert known == {*OPTIONS[verb], "-h", "--help"}
    assert all(action.help for action in build_parser()[1][verb]._actions)


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_help_names_the_protocols_and_the_defaults(verb, lfm):
    text = lfm(verb, "--help").out
    for name in PROTOCOLS:
        assert name in text
    assert "default 32" in text
    assert "default 8" in text


def test_the_version_is_the_packages(lfm):
    ran = lfm("--version")
    assert (ran.status, ran.out) == (0, f"lfm_jax {lfm_jax.__version__}\n")


def usage_error(ran, *words):
    """Exit status 2, nothing on stdout, and a last line on stderr that has these words."""
    assert ran.status == 2
    assert ran.out == ""
    message = ran.err[ran.err.index("lfm") :]
    for word in words:
        assert word in message, message
    assert len(message.splitlines()) <= 8


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["predcit", "a.png"], ["'predcit'", "did you mean 'predict'", "train, evaluate, predict, explain, convert, export"]),
        (["Predict", "a.png"], ["'Predict'", "did you mean 'predict'"]),
        (["xyzzy"], ["'xyzzy'", "train, evaluate, predict, explain, convert, export"]),
        ([], ["VERB"]),
        (["--verison"], ["--verison", "--version"]),
        (["predict", "a.png", "--weights", "w", "--protcol", "native"], ["--protcol", "did you mean '--protocol'"]),
        (["predict", "a.png", "--weights", "w", "--protcol=native"], ["--protcol", "did you mean '--protocol'"]),
        (["predict", "a.png", "--weights", "w", "--batch-size", "4"], ["--batch-size", "did you mean '--batch_size'"]),
        (["predict", "a.png", "--weights", "w", "--proto", "native"], ["--proto", "did you mean '--protocol'"]),
        (["predict", "a.png", "--weigths", "w"], ["--weigths", "--weights"]),
        (["evaluate", "--weights", "w", "--dta", "d"], ["--dta", "--data"]),
        (["evaluate", "--weights", "w", "--data", "d", "stray"], ["stray"]),
        (["predict", "--weights", "w"], ["PATH"]),
        (["predict", "a.png"], ["--weights"]),
        (["evaluate", "--weights", "w"], ["--data"]),
        (["train", "--config", "c.py"], ["--workdir"]),
        (["train", "--workdir", "w"], ["--config"]),
        (["train", "--config", "c.py", "--wrkdir", "w", "--workdir", "w"], ["--wrkdir", "did you mean '--workdir'"]),
        (["convert", "a.pth"], ["DST"]),
        (["predict", "a.png", "--weights", "w", "--format", "jsn"], ["--format", "jsn", "table", "jsonl", "csv"]),
        (["predict", "a.png", "--weights", "w", "--batch_size", "0"], ["--batch_size", "'0'", "at least 1"]),
        (["predict", "a.png", "--weights", "w", "--batch_size=-4"], ["--batch_size", "'-4'", "at least 1"]),
        (["evaluate", "--weights", "w", "--data", "d", "--threads", "two"], ["--threads", "'two'", "at least 1"]),
    ],
    ids="_".join,
)
def test_a_slip_is_named_with_what_was_meant(argv, words, lfm):
    usage_error(lfm(*argv), *words)


def test_missing_weights_are_named(lfm, tmp_path, labelled_folder):
    usage_error(lfm("predict", "--weights", tmp_path / "gone.pth", "a.png"), "lfm predict", "no weights", "gone.pth")
    usage_error(lfm("evaluate", "--weights", tmp_path / "gone.pth", "--data", labelled_folder), "lfm evaluate", "gone.pth")
    usage_error(lfm("convert", tmp_path / "gone.pth", tmp_path / "new.safetensors"), "lfm convert", "gone.pth")


def test_a_file_that_holds_no_weights_is_named(lfm, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"<html>404 Not Found</html>")
    usage_error(lfm("predict", "--weights", tmp_path / "w.safetensors", "a.png"), "w.safetensors")
    usage_error(lfm("predict", "--weights", tmp_path, "a.png"), str(tmp_path), "checkpoint")


def test_a_missing_data_root_is_named(lfm, weights_file, tmp_path):
    usage_error(lfm("evaluate", "--weights", weights_file, "--data", tmp_path / "gone"), "lfm evaluate", str(tmp_path / "gone"))


def test_a_data_root_of_another_layout_says_what_is_looked_for(lfm, weights_file, tmp_path):
    (tmp_path / "photos").mkdir()
    usage_error(lfm("evaluate", "--weights", weights_file, "--data", tmp_path), "0_real/ and 1_fake/", "found photos/")


@pytest.mark.parametrize("protocol", ["crop_224", "", "native,crop_224"])
def test_an_unknown_protocol_is_named_with_the_choices(protocol, lfm, weights_file, labelled_folder):
    ran = lfm("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", protocol)
    usage_error(ran, repr(protocol.removeprefix("native,")), *PROTOCOLS)


def test_predict_takes_one_protocol_and_names_another(lfm, weights_file, labelled_folder):
    ran = lfm("predict", "--weights", weights_file, labelled_folder, "--protocol", "native,crop224")
    usage_error(ran, "'native,crop224'", *PROTOCOLS)


@pytest.mark.parametrize("out", ["no folder/out.csv", "."])
def test_a_place_that_cannot_be_written_is_named(out, lfm, weights_file, labelled_folder, tmp_path):
    usage_error(lfm("predict", "--weights", weights_file, labelled_folder, "--out", tmp_path / out), str(tmp_path / out))


def test_an_output_folder_that_is_a_file_is_named(lfm, weights_file, labelled_folder, tmp_path):
    (tmp_path / "out").write_text("mine")
    ran = lfm("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native", "--out", tmp_path / "out")
    assert ran.status == 2
    assert str(tmp_path / "out") in ran.err
    assert (tmp_path / "out").read_text() == "mine"


def test_evaluate_prints_the_table_and_writes_the_files(lfm, weights_file, labelled_folder, tmp_path):
    ran = lfm(
        "evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native,crop64", "--out", tmp_path / "out"
    )
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == (tmp_path / "out/table.md").read_text()
    rows = [re.sub(r"\||\[.*?\]", "", line).split() for line in ran.out.splitlines()[2:]]
    expected = [["gan_a", "2", "2", "75.0", "100.0", "50.0"], ["gan_b", "4", "3", "100.0", "100.0", "100.0"]]
    expected += [["mean", "6", "5", "87.5", "100.0", "75.0"]]
    assert [row[:8] for row in rows] == [[protocol, "suite", *row] for protocol in ("native", "crop64") for row in expected]


def test_evaluate_without_out_writes_nothing(lfm, weights_file, labelled_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lfm("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native").status == 0
    assert list(tmp_path.iterdir()) == []


def test_evaluate_names_what_it_could_not_score_and_gives_status_3(lfm, weights_file, noise, tmp_path):
    for label in ("0_real", "1_fake"):
        (tmp_path / "gan_a" / label).mkdir(parents=True)
        noise(64, 64).save(tmp_path / "gan_a" / label / "1.png")
    (tmp_path / "gan_a/1_fake/0.png").write_text("not a picture")
    ran = lfm("evaluate", "--weights", weights_file, "--data", tmp_path, "--protocol", "native")
    assert ran.status == 3
    assert re.search(r"1 could not be scored:\n +gan_a/1_fake/0\.png: not an image", ran.err)
    assert "gan_a" in ran.out


def test_convert_says_what_it_wrote(lfm, weights_file, tmp_path):
    ran = lfm("convert", weights_file, tmp_path / "copy.safetensors")
    assert (ran.status, ran.err) == (0, "")
    copy = lfm_jax.load(tmp_path / "copy.safetensors")
    assert ran.out == f"{tmp_path / 'copy.safetensors'}: weights {copy.card.weights_sha256[:12]} from {weights_file}\n"


def test_convert_to_an_unknown_format_names_those_there_are(lfm, weights_file, tmp_path):
    usage_error(lfm("convert", weights_file, tmp_path / "model.onnx"), "model.onnx", ".pth", ".safetensors")


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
    usage_error(lfm("train", "--config", preset(), "--workdir", tmp_path / "run", *change), *words)
    assert trained == []
    assert not (tmp_path / "run").exists()


def test_a_field_misspelt_in_the_preset_is_named(lfm, preset, trained, tmp_path):
    usage_error(lfm("train", "--config", preset("config.batchsize = 8"), "--workdir", tmp_path / "run"), "batchsize", "batch_size")
    assert trained == []


def test_a_missing_preset_is_named(lfm, tmp_path):
    ran = lfm("train", "--config", tmp_path / "gone.py", "--workdir", tmp_path / "run")
    usage_error(ran, str(tmp_path / "gone.py"), "no such file")


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
    """A slip in the protocol must not come to light at the first validation, nor later when the weights are used."""
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


def test_evaluate_takes_views_and_the_robustness_grid(lfm, weights_file, labelled_folder):
    args = ("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native")
    shown = lfm(*args, "--views", "native,fakes_q96").out
    assert {line.split("|")[2].strip() for line in shown.splitlines()[2:]} == {"as_is", "fakes_q96"}
    ran = lfm(*args, "--views", "native,all_q960")
    assert ran.status == 2
    assert "unknown view 'all_q960'" in ran.err


def test_evaluate_decodes_an_image_once_for_all_its_cells(lfm, weights_file, labelled_folder, monkeypatch):
    decoded, decode = [], open.decode
    monkeypatch.setattr(open, "decode", lambda path: decoded.append(path) or decode(path))
    args = ("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol=native,crop48", "--views=native,all_q75")
    once = lfm(*args)
    assert len(decoded) == len(set(decoded)) == 11
    assert lfm(*args, "--keep_mib=0").out == once.out
    assert len(decoded) == 11 + 4 * 11


def test_evaluate_takes_several_weights(lfm, weights_file, labelled_folder):
    ran = lfm("evaluate", "--weights", weights_file, "--weights", weights_file, "--data", labelled_folder, "--protocol", "native")
    assert ran.status == 0
    assert ran.out.splitlines()[-1].split("|")[2].strip() == "mean of 2"
    assert "± 0.0" in ran.out.splitlines()[-1]
