"""`lfm bench` and the script for GPUs run anywhere, and time nothing that computes something else."""

import json
import sys

import numpy as np
import pytest

from lfm_jax import config, models
from lfm_jax.bench.stage_costs import flops_per_image


@pytest.fixture(autouse=True)
def plain_compile(monkeypatch):
    """Replaces torch.compile, which would run a C++ compiler for half a minute."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch")
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)


def test_the_flops_of_an_image_are_those_of_the_method():
    model = models.build(config.model())
    assert flops_per_image(model, 256) == pytest.approx(2 * 1.575e9, rel=1e-3)
    assert flops_per_image(model, 224) == pytest.approx(2 * 1.193e9, rel=1e-3)


def test_inference_is_timed_beside_pytorch_and_printed_as_json(lfm, weights_file):
    ran = lfm(
        "bench", "--weights", weights_file, "--side=48", "--batch_size=2", "--dtype=float32,bfloat16", "--seconds=1", "--json"
    )
    assert ran.status == 0, ran.err
    benchmark = json.loads(ran.out)
    rows = {row["what"]: row for row in benchmark["rows"]}
    assert {"lfm_jax float32", "lfm_jax bfloat16", "PyTorch eager float32"} <= rows.keys()
    assert all(row["images_per_s"] > 0 for row in rows.values() if not row["skipped"])
    assert not rows["lfm_jax float32"]["skipped"] + rows["PyTorch eager float32"]["skipped"]
    assert rows["PyTorch eager float32"]["ratio"] == 1.0
    assert benchmark["machine"]["versions"]["jax"]
    assert list(benchmark["stages"]) == ["residual", "block1", "block2", "block3", "block4, projection", "top-k, head"]


def test_what_computes_something_else_is_not_timed(lfm, weights_file, monkeypatch):
    from lfm_jax.bench import pytorch

    wrong = {
        "PyTorch eager float32": lambda images: np.zeros(len(images), np.float32),
        "PyTorch absent float32": lambda images: 1 / 0,
    }
    monkeypatch.setattr(pytorch, "scorers", lambda network: wrong)
    ran = lfm("bench", "--weights", weights_file, "--side=48", "--batch_size=2", "--seconds=1")
    assert ran.status == 0, ran.err
    lines = {line.split("|")[1].strip(): line for line in ran.out.splitlines() if line.startswith("|")}
    assert "not timed: 1.0e+00 of the largest value off" in lines["PyTorch eager float32"]
    assert "ZeroDivisionError" in lines["PyTorch absent float32"]
    assert lines["lfm_jax float32"].split("|")[3].strip() not in ("", "0.0")


@pytest.mark.parametrize(
    ("kind", "dtype", "others"),
    [
        ("train", "float32", {"PyTorch eager float32", "PyTorch compiled float32"}),
        ("train", "bfloat16", {f"PyTorch {how} {dtype}" for how in ("eager", "compiled") for dtype in ("float32", "bfloat16")}),
        ("input", "float32", {f"input, {number} thread(s)" for number in (1, 2, 4, 8)}),
    ],
)
def test_training_and_input(kind, dtype, others, lfm, weights_file):
    sizes = "--side=48", "--batch_size=4", "--seconds=1"
    ran = lfm("bench", kind, "--weights", weights_file, *sizes, f"--dtype={dtype}", "--json")
    assert ran.status == 0, ran.err
    rows = {row["what"]: row for row in json.loads(ran.out)["rows"]}
    assert set(rows) == {f"lfm_jax {dtype}", f"lfm_jax {dtype}, no regularisers"} | others
    if kind == "train":
        assert rows["PyTorch eager float32"]["ratio"] == 1.0
    for row in rows.values():
        assert not row["skipped"]
        assert row["images_per_s"] > 0


@pytest.mark.parametrize(
    ("option", "words"), [("--dtype=float16", "float32 or bfloat16"), ("--batch_size=1,x", "'x'"), ("bits", "'bits'")]
)
def test_a_mistake_in_the_command_is_named(option, words, lfm):
    ran = lfm("bench", option)
    assert ran.status == 2
    assert words in ran.err


def test_the_limits_are_printed_for_a_machine_that_is_not_here(capsys, monkeypatch):
    from benchmarks import limits

    monkeypatch.setattr(sys, "argv", ["limits.py", "--flops=1e12", "--bandwidth=1e12"])
    limits.main()
    whole = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| all in one kernel"))
    assert [cell.strip() for cell in whole.split("|")[2:4]] == ["3.15e+03", "0.197"]
