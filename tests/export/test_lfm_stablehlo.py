"""The StableHLO file and the module beside it run without this package: any number of images, of any size, with jax alone."""

import json

import jax
import numpy as np
import pytest

from lfm_jax.export import lfm_stablehlo, stablehlo_file
from tests.helpers.without import run_without

pytest.importorskip("flatbuffers", reason="jax saves programs with it")

ALONE = """
import numpy as np
import lfm_stablehlo

detector = lfm_stablehlo.load("tiny.stablehlo")
logits = [detector(images).tolist() for images in np.load("images.npz").values()]
print(json.dumps([logits, detector.card["protocol"], sorted({name.split(".")[0] for name in sys.modules} & {"lfm_jax", "flax"})]))
"""


@pytest.fixture(scope="module")
def tiny(tiny_detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("stablehlo") / "tiny.stablehlo"
    stablehlo_file.write_stablehlo(path, tiny_detector, 0)
    return path


def test_it_runs_without_this_package(tiny, tiny_detector, noise):
    sizes = [(1, 64, 64), (3, 97, 50)]
    batches = [np.stack([np.asarray(noise(height, width, seed=seed)) for seed in range(count)]) for count, height, width in sizes]
    np.savez(tiny.parent / "images.npz", *batches)
    logits_of_batches, protocol, loaded = json.loads(run_without(("lfm_jax", "flax", "torch"), ALONE, folder=tiny.parent))
    assert (protocol, loaded) == (tiny_detector.card.protocol, [])
    for images, logits in zip(batches, logits_of_batches, strict=True):
        np.testing.assert_allclose(logits, tiny_detector.logits(images), rtol=0, atol=1e-4)


def test_one_program_runs_on_cpu_cuda_and_tpu(tiny_detector):
    program = stablehlo_file.trace(tiny_detector, 0)
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert str(program.in_avals[0].shape) == "(n, h, w, 3)"


@pytest.mark.parametrize("images", [np.zeros((1, 30, 64, 3), np.uint8), np.zeros((1, 64, 64, 3)), np.zeros((64, 64, 3), np.uint8)])
def test_other_arrays_are_an_error_that_says_what_is_expected(tiny, images):
    with pytest.raises(ValueError, match=r"uint8 \[N, H, W, 3\] of at least 32 px, got "):
        lfm_stablehlo.load(tiny)(images)


def test_a_fixed_side_takes_nothing_else(tiny_detector, noise, tmp_path):
    stablehlo_file.write_stablehlo(tmp_path / "fixed.stablehlo", tiny_detector, 64)
    detector = lfm_stablehlo.load(tmp_path / "fixed.stablehlo")
    images = np.stack([np.asarray(noise(64, 64, seed=seed)) for seed in range(3)])
    np.testing.assert_allclose(detector(images), tiny_detector.logits(images), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="64"):
        detector(images[:, :48])


def test_a_program_holds_its_weights_only_once(tiny, tiny_detector):
    weights = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tiny_detector.variables["params"]))
    assert weights < tiny.stat().st_size < weights + 40_000
