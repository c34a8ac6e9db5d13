"""The command line: short and complete help, and mistakes answered with what was probably meant."""

import re
import shlex

import pytest

import lfm_jax
from lfm_jax.cli import build_parser
from lfm_jax.presets import load_config
from lfm_jax.verbs import COMPUTING
from lfm_jax.verbs.arguments import option_names, unknown_options

CLUSTER = ["--coordinator", "--num_processes", "--process_id", "--join_seconds", "--cluster"]
OPTIONS = {
    "train": ["--config", "--config.FIELD", "--workdir", *CLUSTER],
    "evaluate": [
        *("--weights", "--data", "--list", "--labels", "--protocol", "--views", "--robustness", "--keep_mib", "--out"),
        *("--batch_size", "--threads", "--truncated", "--compute_dtype"),
        *CLUSTER,
    ],
    "calibrate": [
        *("--weights", "--data", "--list", "--labels", "--out", "--protocol", "--view", "--objective", "--range", "--force"),
        *("--batch_size", "--threads"),
    ],
    "compare": ["DIR_A", "DIR_B", "--metric", "--json", "--out"],
    "sweep": ["--config", "--config.FIELD", "--out", "--only", "--index", "--collect"],
    "compile": ["--config", "--config.FIELD", "--topology", "--what", "--num_slices"],
    "predict": [
        *("PATH", "--weights", "--protocol", "--format", "--sort", "--threshold", "--unsure", "--every", "--out", "--truncated"),
        *("--list", "--parts", "--shard", "--engine", "--collect", "--compute_dtype"),
        *("--batch_size", "--threads"),
    ],
    "convert": ["SRC", "DST"],
    "explain": ["PATH", "--weights", "--out", "--protocol", "--entries"],
    "export": ["DST", "--weights", "--format", "--side"],
    "demo": ["--weights", "--port", "--host", "--out"],
    "weights": ["NAME"],
    "data check": ["ROOT", "--out", "--labels", "--engine", "--beam_options", "--threads"],
    "data prepare": ["ROOT", "OUT", "--suite", "--whole", "--pixels", "--engine", "--beam_options", "--threads"],
    "data align": ["ROOT", "OUT", "--encoder", "--decoder", "--seed", "--max_pixels", "--match_power"],
    "data camera": ["ROOT", "OUT", "--seed"],
    "data decoder": [
        *("ROOT", "OUT", "--encoder", "--decoder", "--upsampling", "--activation", "--width", "--steps", "--seed"),
    ],
    "data look": ["--config", "--config.FIELD", "--out", "--images", "--draws"],
    "bench": ["WHAT", "--weights", "--batch_size", "--dtype", "--side", "--data", "--seconds", "--json"],
}
PROTOCOLS = ["native", "resize256", "crop224", "crop256", "crop224_pad", "crop256_pad", "resize256_crop224"]


def test_help_names_every_verb_with_a_summary(lfm):
    ran = lfm("--help")
    assert (ran.status, ran.err) == (0, "")
    for verb in OPTIONS:
        assert re.search(rf"^ +{verb}\s+\w+", ran.out, re.MULTILINE)
    assert len(ran.out.splitlines()) <= len(OPTIONS) + 13  # one line per verb, three that wrap, and ten around them


@pytest.mark.parametrize("verb", OPTIONS)
def test_help_of_a_verb_explains_each_option_on_one_screen(verb, lfm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    ran = lfm(verb, "--help")
    assert (ran.status, ran.err) == (0, "")
    for option in OPTIONS[verb]:
        assert re.search(rf"^ +{re.escape(option)}(?= )[^\n]*\s+\w", ran.out, re.MULTILINE), option
    assert len(ran.out.splitlines()) <= 33
    options = {option for option in OPTIONS[verb] if option.startswith("-")} | ({"--require"} if verb in COMPUTING else set())
    assert set(option_names(build_parser()[1][verb])) == options | {"--import", "-h", "--help"}


@pytest.mark.parametrize("verb", OPTIONS)
def test_help_of_a_verb_ends_with_two_examples_that_it_would_take(verb, lfm):
    *_, heading, first, second = lfm(verb, "--help").out.splitlines()
    assert heading == "examples:"
    assert first != second
    for example in (first, second):
        name, *argv = shlex.split(example)
        assert name == "lfm" and len(example) <= 92
        words = len(verb.split())
        assert argv[:words] == verb.split()
        parser = build_parser()[1][verb]
        assert unknown_options(parser, argv[words:]) == []
        _, rest = parser.parse_known_args(argv[words:])
        assert all(argument.startswith("--config.") for argument in rest)
        if (preset := re.search(r"--config=(\S+)", example)) and verb != "sweep":
            assert load_config(preset[1])


def test_the_bare_command_shows_the_help(lfm):
    ran = lfm()
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == lfm("--help").out


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_help_names_the_protocols_and_the_defaults(verb, lfm):
    text = lfm(verb, "--help").out
    for name in PROTOCOLS:
        assert name in text
    assert "default 32" in text
    assert "default 8" in text


def test_the_version_is_that_of_the_package(lfm):
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
        (["--verison"], ["--verison", "--version"]),
        (["predict", "a.png", "--weights", "w", "--protcol", "native"], ["--protcol", "did you mean '--protocol'"]),
        (["predict", "a.png", "--weights", "w", "--protcol=native"], ["--protcol", "did you mean '--protocol'"]),
        (["predict", "a.png", "--weights", "w", "--batch-size", "4"], ["--batch-size", "did you mean '--batch_size'"]),
        (["predict", "a.png", "--weights", "w", "--proto", "native"], ["--proto", "did you mean '--protocol'"]),
        (["predict", "a.png", "--weigths", "w"], ["--weigths", "--weights"]),
        (["evaluate", "--weights", "w", "--dta", "d"], ["--dta", "--data"]),
        (["evaluate", "--weights", "w", "--data", "d", "stray"], ["stray"]),
        (["predict", "--weights", "w"], ["PATH"]),
        (["evaluate"], ["--data"]),
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
def test_a_slip_is_answered_with_what_was_meant(argv, words, lfm):
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


def test_a_data_root_with_another_layout_is_told_the_expected_one(lfm, weights_file, tmp_path):
    (tmp_path / "photos").mkdir()
    usage_error(lfm("evaluate", "--weights", weights_file, "--data", tmp_path), "0_real/ and 1_fake/", "found photos/")


@pytest.mark.parametrize("protocol", ["crop_224", "", "native,crop_224"])
def test_an_unknown_protocol_is_named_with_the_choices(protocol, lfm, weights_file, labelled_folder):
    ran = lfm("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", protocol)
    usage_error(ran, repr(protocol.removeprefix("native,")), *PROTOCOLS)


def test_predict_takes_one_protocol_only(lfm, weights_file, labelled_folder):
    ran = lfm("predict", "--weights", weights_file, labelled_folder, "--protocol", "native,crop224")
    usage_error(ran, "'native,crop224'", *PROTOCOLS)


@pytest.mark.parametrize("out", ["no folder/out.csv", "."])
def test_an_output_file_that_cannot_be_written_is_named(out, lfm, weights_file, labelled_folder, tmp_path):
    usage_error(lfm("predict", "--weights", weights_file, labelled_folder, "--out", tmp_path / out), str(tmp_path / out))


def test_an_output_folder_that_is_a_file_is_named(lfm, weights_file, labelled_folder, tmp_path):
    (tmp_path / "out").write_text("mine")
    ran = lfm("evaluate", "--weights", weights_file, "--data", labelled_folder, "--protocol", "native", "--out", tmp_path / "out")
    assert ran.status == 2
    assert str(tmp_path / "out") in ran.err
    assert (tmp_path / "out").read_text() == "mine"


def test_convert_reports_what_it_wrote(lfm, weights_file, tmp_path):
    ran = lfm("convert", weights_file, tmp_path / "copy.safetensors")
    assert (ran.status, ran.err) == (0, "")
    copy = lfm_jax.load(tmp_path / "copy.safetensors")
    assert ran.out == f"{tmp_path / 'copy.safetensors'}: weights {copy.card.weights_sha256[:12]} from {weights_file}\n"


def test_convert_to_an_unknown_format_names_the_known_ones(lfm, weights_file, tmp_path):
    usage_error(lfm("convert", weights_file, tmp_path / "model.onnx"), "model.onnx", ".pth", ".safetensors")
