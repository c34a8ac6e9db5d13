"""Settings of jax in the user's environment or program change no result."""

import contextlib

import jax
import numpy as np
import pytest

from lfm_jax.inference.detector import load
from lfm_jax.inference.evidence import evidence_map
from lfm_jax.runtime import settings
from lfm_jax.training import writers
from lfm_jax.training.loop import train_and_evaluate
from tests.helpers.launching import values
from tests.helpers.training import optional_config, python

HOSTILE = {
    "JAX_ENABLE_X64": "1",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_TRANSFER_GUARD": "disallow",
}


@contextlib.contextmanager
def of_a_notebook():
    with (
        jax.enable_x64(True),
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.threefry_partitionable(False),
        jax.default_prng_impl("rbg"),
    ):
        yield


def test_a_program_with_settings_of_its_own_trains_and_scores_the_same(tmp_path, weights_file, noise):
    pixels = np.asarray(noise(48, 56))
    ours, theirs = [], []
    for results, context in ((ours, contextlib.nullcontext), (theirs, of_a_notebook)):
        with context():
            workdir = tmp_path / context.__name__
            train_and_evaluate(optional_config(steps=1, **{"eval.test": False}), workdir)
            detector = load(weights_file)
            results += [values(writers.read(workdir)), detector.logits(pixels[None]), evidence_map(detector, pixels)]
    assert ours[0] == theirs[0]
    np.testing.assert_array_equal(ours[1], theirs[1])
    np.testing.assert_array_equal(ours[2], theirs[2])


def test_only_what_is_set_is_settled():
    env = {"JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    settings.settle(env)
    assert env == {"JAX_ENABLE_X64": "0", "JAX_PLATFORMS": "cpu"}


@pytest.mark.parametrize("verb", ["train", "evaluate"])
def test_the_command_ignores_settings_of_the_environment(verb, lfm, weights_file, labelled_folder, tmp_path):
    def command(out):
        if verb == "evaluate":
            return [verb, f"--weights={weights_file}", f"--data={labelled_folder}", "--protocol=native", f"--out={out}"]
        sizes = {"train": 8, "val": 4, "side": 64}
        return [verb, "--config=tiny", "--config.steps=1", "--config.batch_size=4", "--config.data.crop=64",
                "--config.model.widths=(4,8,8,8)", "--config.model.maps=4", "--config.model.pooling.k=4",
                *(f"--config.data.synthetic.{name}={value}" for name, value in sizes.items()),
                "--config.eval.test=False", "--config.optim.warmup_steps=0", f"--workdir={out}"]  # fmt: skip

    def results(out):
        return values(writers.read(out)) if verb == "train" else (out / "predictions.tsv").read_text()

    assert lfm(*command(tmp_path / "plain")).status == 0
    done = python("-m", "lfm_jax", *command(tmp_path / "hostile"), **HOSTILE)
    assert done.returncode == 0, done.stderr[-2000:]
    assert results(tmp_path / "plain") == results(tmp_path / "hostile")
