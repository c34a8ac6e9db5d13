"""Compiling for devices that this machine lacks: simulated CPU devices always, TPU topologies where libtpu is installed."""

import importlib.util
import re
import subprocess
import sys

import pytest

from lfm_jax.training import aot
from tests.helpers.launching import LAUNCH, environment

CONFIGS = LAUNCH.parent / "configs"
# Statistics over the global batch, of four layers forward and three backward (the first needs none there), and one for all
# gradients and metrics.
ALL_REDUCES = 4 + 3 + 1
ALL_REDUCES_CPU = 4 * (2 + 1) + 1  # the gradient written for CPUs sends both sums of a layer together
needs_libtpu = pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="needs libtpu: pip install 'lfm_jax[tpu]' (with JAX_PLATFORMS=cpu)"
)


def compile_for(topology, *options, preset="paper.py"):
    argv = [sys.executable, "-m", "lfm_jax", "compile", f"--config={CONFIGS / preset}", f"--topology={topology}", *options]
    return subprocess.run(argv, env=environment(), cwd=LAUNCH.parent, capture_output=True, text=True, timeout=900)


def cells(ran, name):
    """The cells of a row of the table: train step, evaluation step."""
    (row,) = (line for line in ran.stdout.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in row.split("|")[2:-1]]


DEGRADING = [f"--config.data.augment.{name}.p=0.5" for name in ("scale", "blur", "noise", "jpeg", "first_jpeg")]


@pytest.mark.parametrize("options", [[], ["--config.data.augment_on=device", *DEGRADING]], ids=["", "degrading"])
def test_eight_cpu_devices(options):
    """Degradation on the devices, each of its own images, adds nothing that they exchange."""
    small = ["--config.model.widths=(4,8,8,8)", "--config.data.crop=64", "--config.data.resize=64", *options]
    ran = compile_for("cpu:8", "--config.batch_size=64", *small)
    assert ran.returncode == 0, ran.stderr
    assert cells(ran, "devices") == ["8 x cpu on 1 host(s)"] * 2
    assert cells(ran, "all-reduce")[0].startswith(f"{ALL_REDUCES_CPU} (")
    assert "all-gather" not in ran.stdout


@pytest.mark.skipif(not importlib.util.find_spec("jax_plugins"), reason="needs pip install 'lfm_jax[gpu-compile]'")
@pytest.mark.slow
def test_a_gpu_that_is_not_here_moves_few_bytes_in_a_training_step():
    ran = compile_for("h100:1", "--config.batch_size=256", "--what=train", preset="gpu8.py")
    assert ran.returncode == 0, ran.stderr
    assert cells(ran, "devices") == ["1 x NVIDIA H100 80GB HBM3 on 1 host(s)"]
    (moved,) = cells(ran, "moved, at most")
    assert float(moved.removesuffix(" GB")) == pytest.approx(17.5, rel=0.1)


def test_one_program_can_be_asked_for():
    small = ["--config.model.widths=(4,8,8,8)", "--config.data.crop=64", "--config.data.resize=64", "--config.batch_size=8"]
    ran = compile_for("cpu:1", "--what=train", *small)
    assert ran.returncode == 0, ran.stderr
    assert "evaluation step" not in ran.stdout
    assert float(cells(ran, "moved, at most")[0].removesuffix(" GB")) > 0


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("topology", "chips", "hosts"), [("v5e:4x4", 16, 4), pytest.param("v5e:16x16", 256, 64, marks=pytest.mark.full)]
)
def test_a_tpu_slice_holds_the_preset_made_for_it(topology, chips, hosts):
    ran = compile_for(topology, preset="tpu_v5e.py")
    print(ran.stdout)
    assert ran.returncode == 0, ran.stderr
    assert cells(ran, "devices") == [f"{chips} x TPU v5 lite on {hosts} host(s)"] * 2
    assert all(re.fullmatch(r"[\d.]+ MiB of 16 GiB", cell) for cell in cells(ran, "peak"))
    assert cells(ran, "all-reduce")[0].startswith(f"{ALL_REDUCES} (")
    assert cells(ran, "all-reduce")[1] == "-"
    assert not re.search("all-gather|all-to-all|collective-permute|reduce-scatter", ran.stdout)


@needs_libtpu
@pytest.mark.slow
@pytest.mark.full
def test_a_batch_that_a_slice_cannot_hold_is_reported():
    ran = compile_for("v5e:2x2", "--config.batch_size=8192")
    assert ran.returncode == 1
    assert "v5e:2x2 does not hold it" in ran.stderr


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        ("cpu:many", ["--topology=cpu:many", "cpu:8"]),
        ("k80:8", ["--topology=k80:8", "v5e:4x4"]),
        ("h100:9", ["--topology=h100:9", "1 to 8 GPUs"]),
    ],
)
def test_a_topology_that_is_none_is_refused_without_a_traceback(lfm, topology, words):
    ran = lfm("compile", f"--config={CONFIGS / 'paper.py'}", f"--topology={topology}")
    assert ran.status == 2, ran.err
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--config.batch_size=12"], ["config.batch_size = 12 does not divide over 8 devices"]),
        (["--config.data.crop=0", "--config.data.resize=0"], ["config.data.crop", "not known"]),
    ],
)
def test_what_cannot_be_compiled_is_explained_without_a_traceback(options, words):
    ran = compile_for("cpu:8", *options)
    assert ran.returncode == 2, ran.stderr
    for word in words:
        assert word in ran.stderr
    assert "Traceback" not in ran.stderr


def test_collectives_are_counted_with_the_bytes_of_their_results():
    text = """
  %all-reduce.1 = (f32[64]{0:T(128)}, bf16[2,3]{1,0}) all-reduce(%a, %b), replica_groups={{0,1}}
  ROOT %r = f32[] all-reduce-start(%c), channel_id=1
  %done = f32[] all-reduce-done(%r)
  %g = s32[8,4]{1,0} all-gather(%d), dimensions={0}
"""
    assert aot.collectives(text) == {"all-gather": (1, 128), "all-reduce": (2, 64 * 4 + 6 * 2 + 4)}


def test_a_peak_above_the_memory_of_a_device_does_not_fit():
    def fits(*programs, device_memory):
        return aot.Compilation("v5e:1x1", 1, 1, "TPU v5 lite", device_memory, None, dict(enumerate(programs))).fits

    small, large = aot.Program(peak=1), aot.Program(peak=3)
    assert fits(small, device_memory=2)
    assert fits(large, device_memory=None)
    assert not fits(small, large, device_memory=2)
    assert not fits(aot.Program(error="out of memory"), device_memory=2)
