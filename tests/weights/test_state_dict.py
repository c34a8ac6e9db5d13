"""The key table in both directions, its strict report, and parity with a PyTorch class of those names."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import WeightsError
from lfm_jax.weights.layouts import frozen_kernels
from lfm_jax.weights.state_dict import from_state_dict, to_state_dict
from tests.helpers.networks import equal_to_the_bit, run

KEYS_OF_FOUR_BLOCKS = 33


def small_variables(seed=0, widths=(4, 6, 8, 10), maps=5, k=3):
    config = config_lib.model()
    config.widths, config.maps, config.pooling.k = widths, maps, k
    model = models.build(config)
    variables = models.abstract_variables(model)
    draws = np.random.default_rng(seed)
    # Away from the all-ones and all-zeros of a fresh BatchNorm, so that a swap of two of its keys shows.
    stats = jax.tree.map(lambda leaf: draws.integers(1, 9, leaf.shape).astype(leaf.dtype), variables["batch_stats"])
    params = jax.tree.map(lambda leaf: draws.normal(size=leaf.shape).astype(np.float32), variables["params"])
    return model, {"params": params, "batch_stats": stats}


def small_state():
    model, variables = small_variables()
    return to_state_dict(variables, model)


@given(st.integers(0, 1000), st.sampled_from([(4, 6, 8, 10), (3, 5, 7), (2,), (2, 3, 3, 2, 4)]))
@settings(deadline=None, max_examples=8)
def test_there_and_back_is_the_same_to_the_bit(seed, widths):
    model, variables = small_variables(seed, widths)
    state = to_state_dict(variables, model)
    assert equal_to_the_bit(from_state_dict(state, model), variables)
    assert equal_to_the_bit(from_state_dict(state), variables)  # told by its keys


def test_the_state_dict_has_the_released_order_shapes_and_dtypes():
    state = small_state()
    keys = list(state)
    assert len(keys) == KEYS_OF_FOUR_BLOCKS
    assert keys[:4] == ["downsample_conv.weight", "upsample_conv.weight", "cnn.layer1.0.weight", "cnn.layer1.0.bias"]
    assert keys[-3:] == ["covn1_1.weight", "fc1.weight", "fc1.bias"]
    assert state["cnn.layer2.0.weight"].shape == (6, 4, 2, 2)
    assert state["covn1_1.weight"].shape == (5, 10, 1, 1)
    assert state["fc1.weight"].shape == (1, 15)
    counters = [key for key in keys if key.endswith("num_batches_tracked")]
    assert [(state[key].dtype, state[key].shape) for key in counters] == [(np.int64, ())] * 4
    assert {state[key].dtype for key in keys if key not in counters} == {np.dtype(np.float32)}


def test_the_frozen_kernels_make_the_residual():
    torch = pytest.importorskip("torch", reason="runs the kernels in PyTorch")
    from lfm_jax.ops.npr import Residual, npr_residual

    kernels = {key: torch.from_numpy(kernel) for key, kernel in frozen_kernels().items()}
    images = np.random.default_rng(0).normal(size=(2, 6, 8, 3)).astype(np.float32)
    x = torch.from_numpy(images).permute(0, 3, 1, 2)
    down = torch.nn.functional.conv2d(x, kernels["downsample_conv.weight"], stride=2)
    up = torch.nn.functional.conv_transpose2d(down, kernels["upsample_conv.weight"], stride=2)
    np.testing.assert_allclose((x - up).permute(0, 2, 3, 1), npr_residual(images, residual=Residual(kind="signed")), atol=1e-6)


def test_every_fault_is_reported_at_once():
    state = small_state()
    del state["cnn.layer3.1.running_var"], state["fc1.bias"]
    state["fc2.weight"] = np.zeros((1, 2), np.float32)
    with pytest.raises(WeightsError) as caught:
        from_state_dict(state)
    for part in ("missing cnn.layer3.1.running_var", "missing fc1.bias", "unexpected fc2.weight (1, 2)"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("key", "shape", "expected"),
    [
        ("cnn.layer2.0.weight", (6, 5, 2, 2), "(6, 4, 2, 2)"),
        ("cnn.layer4.1.running_mean", (9,), "(10,)"),
        ("fc1.weight", (1, 14), "(1, 10)"),
        ("covn1_1.weight", (5, 9, 1, 1), "(5, 10, 1, 1)"),
        ("cnn.layer1.1.num_batches_tracked", (1,), "()"),
        ("upsample_conv.weight", (3, 3, 3, 3), "(3, 3, 2, 2)"),
    ],
)
def test_a_mis_shaped_tensor_is_named_with_what_was_expected(key, shape, expected):
    state = small_state()
    state[key] = np.zeros(shape, state[key].dtype)
    with pytest.raises(WeightsError) as caught:
        from_state_dict(state)
    assert f"mis-shaped {key}: {shape}, expected {expected}" in str(caught.value)


def test_other_frozen_kernels_are_refused():
    state = small_state()
    state["downsample_conv.weight"] = state["downsample_conv.weight"] * 0.5
    with pytest.raises(WeightsError, match=r"downsample_conv.weight is not the fixed kernel"):
        from_state_dict(state)


def test_values_that_are_not_finite_are_refused():
    state = small_state()
    state["cnn.layer1.0.bias"][2] = np.nan
    with pytest.raises(WeightsError, match=r"cnn.layer1.0.bias has values that are not finite"):
        from_state_dict(state)


def test_an_exported_network_gives_the_same_logits_in_pytorch_under_strict_loading():
    torch = pytest.importorskip("torch", reason="loads the export in PyTorch")
    from lfm_jax.export.lfm_torch import TorchLfm, normalize

    model, variables = small_variables()
    network = TorchLfm(widths=(4, 6, 8, 10), maps=5, k=3).eval()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in to_state_dict(variables, model).items()}, strict=True)
    images = np.random.default_rng(0).integers(0, 256, (3, 72, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = network(normalize(torch.from_numpy(images))).numpy()
    logits = np.asarray(run(model, variables, images).logits)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)
