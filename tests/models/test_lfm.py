"""The network: sizes, padding, initialisation, BatchNorm as PyTorch's, regularisers on and off, dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.errors import UserError
from lfm_jax.models import random_variables
from lfm_jax.models.heads import divide_logits
from lfm_jax.models.layers import ConvNormReluPool
from lfm_jax.weights.layouts import frozen_kernels
from tests.helpers.networks import images, run


def small_config(**changes):
    config = config_lib.model()
    config.widths, config.maps, config.pooling.k = (8, 12, 16, 20), 6, 4
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def small():
    model = models.build(small_config())
    return model, jax.jit(lambda: models.init(model, jax.random.key(0)))()


def test_the_default_network_has_the_published_number_of_parameters():
    params = models.abstract_variables(models.build(config_lib.model()))["params"]
    trained, frozen = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (params, frozen_kernels()))
    assert (trained, trained + frozen) == (725_569, 725_641)


@pytest.mark.parametrize(("side", "map_side"), [(256, 30), (224, 26), (48, 4), (47, 3), (257, 30), (46, 3), (8, -1)])
def test_map_sides_are_those_of_the_published_formula(side, map_side):
    model = models.build(config_lib.model())
    assert model.backbone.map_side(side) == map_side


def test_48_px_is_the_smallest_square():
    model = models.build(config_lib.model())
    assert model.positions(48, 48) == model.k
    assert model.positions(47, 47) < model.k
    assert model.positions(4, 4) == 0


@pytest.mark.parametrize("size", [(48, 64), (61, 57), (80, 50)])
def test_a_padded_image_gives_its_own_logit(small, size):
    model, variables = small
    alone = images(2, *size)
    canvas = images(2, 96, 96, seed=1)
    canvas[:, : size[0], : size[1]] = alone
    padded = run(model, variables, canvas, sizes=np.array([size, size], np.int32))
    expected = run(model, variables, alone)
    np.testing.assert_allclose(padded.logits, expected.logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(padded.values, expected.values, rtol=1e-5, atol=1e-6)


def test_padding_cannot_train(small):
    model, variables = small
    with pytest.raises(ValueError, match="BatchNorm"):
        run(model, variables, images(2, 64, 64), sizes=np.full((2, 2), 64), train=True, mutable=("batch_stats",))


def test_the_logit_is_the_sum_of_weight_times_value_over_maps_and_ranks(small):
    model, variables = small
    output = run(model, variables, images(3, 64, 64))
    head = variables["params"]["head"]
    weights = np.asarray(head["kernel"]).reshape(model.maps, model.k)
    expected = (np.asarray(output.values) * weights).sum((1, 2)) + np.asarray(head["bias"])
    np.testing.assert_allclose(output.logits, expected, rtol=1e-5)
    rows = np.asarray(output.maps).reshape(3, -1, model.maps).swapaxes(1, 2)
    np.testing.assert_array_equal(np.take_along_axis(rows, np.asarray(output.positions), -1), output.values)


def test_a_pixel_outside_the_receptive_field_changes_nothing():
    """23 x 23 px at stride 8, looking right and down only."""
    model = models.build(small_config())
    variables = random_variables(model)
    base = images(1, 64, 64)
    changed = base.copy()
    changed[0, 30, 41] ^= 128
    before, after = (np.asarray(run(model, variables, image).maps)[0] for image in (base, changed))
    rows, cols = np.nonzero((before != after).any(-1))
    # The changed pixel is not the top-left of its block, so its own residual is all that moves.
    inside = [
        (r, c) for r in range(before.shape[0]) for c in range(before.shape[1]) if 0 <= 30 - 8 * r < 24 and 0 <= 41 - 8 * c < 24
    ]
    assert set(zip(rows, cols, strict=True)) <= set(inside)
    assert len(rows) > 0


def test_initialisation_is_pytorchs(small):
    _, variables = small
    block = variables["params"]["backbone"]["block2"]
    bound = (4 * 8) ** -0.5
    for array in (block["kernel"], block["bias"]):
        assert np.abs(array).max() <= bound
    assert np.std(block["kernel"]) == pytest.approx(bound / 3**0.5, rel=0.1)
    assert np.abs(variables["params"]["head"]["kernel"]).max() <= (6 * 4) ** -0.5


def test_batch_norm_moves_its_averages_as_pytorch_does():
    rng = np.random.default_rng(0)
    x, conv_bias = rng.normal(2, 3, size=(4, 3, 2, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    inputs = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    kernel = np.zeros((2, 2, 5, 5), np.float32)
    kernel[0, 0] = np.eye(5)  # the convolution gives x itself
    block = ConvNormReluPool(5, pool=False)
    variables = block.init(jax.random.key(0), inputs, False)
    params = {**variables["params"], "kernel": kernel, "bias": conv_bias}
    out, updated = block.apply({**variables, "params": params}, inputs, True, mutable=("batch_stats",))
    mean, biased = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(out, np.maximum((x - mean) / np.sqrt(biased + 1e-5), 0), rtol=1e-4, atol=1e-5)
    stats = updated["batch_stats"]["norm"]
    np.testing.assert_allclose(stats["mean"], 0.1 * (mean + conv_bias), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * x.var((0, 1, 2), ddof=1), rtol=1e-5)
    assert int(stats["count"]) == 1


def test_rank_dropout_and_random_k_are_of_training_only(small):
    model, variables = small
    batch = images(2, 64, 64)
    keys = {"rank_dropout": jax.random.key(1), "random_k": jax.random.key(2)}
    quiet = run(model, variables, batch)
    assert quiet.aux_logits is None
    np.testing.assert_array_equal(run(model, variables, batch, keys={"rank_dropout": keys["rank_dropout"]}).logits, quiet.logits)
    noisy, _ = run(model, variables, batch, train=True, keys=keys, mutable=("batch_stats",))
    assert noisy.aux_logits.shape == (2,)
    other, _ = run(model, variables, batch, train=True, keys=keys | {"rank_dropout": jax.random.key(9)}, mutable=("batch_stats",))
    assert not np.allclose(noisy.logits, other.logits)
    np.testing.assert_array_equal(noisy.aux_logits, other.aux_logits)


def test_training_without_a_key_is_an_error(small):
    model, variables = small
    with pytest.raises(ValueError, match="rank_dropout is random"):
        run(model, variables, images(2, 64, 64), train=True, mutable=("batch_stats",))


def test_presets_can_switch_both_regularisers_off():
    model = models.build(small_config(**{"rank_dropout.p_max": 0.0, "random_k.aux_weight": 0.0}))
    variables = random_variables(model)
    output, _ = run(model, variables, images(2, 64, 64), train=True, keys={"random_k": jax.random.key(0)}, mutable=("batch_stats",))
    assert output.aux_logits is None


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
    config = small_config(compute_dtype="bfloat16")
    model, plain = models.build(config), models.build(small_config())
    variables = random_variables(model)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32"), np.dtype("int32")}
    batch = images(4, 64, 64)
    output, exact = run(model, variables, batch), run(plain, variables, batch)
    assert output.logits.dtype == jnp.float32
    scale = np.abs(exact.maps).max()
    assert 0 < np.abs(output.maps - exact.maps).max() < 0.05 * scale


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"backbone": "vgg"}, "config.model.backbone = 'vgg'"),
        ({"pooling.kind": "median"}, "config.model.pooling.kind = 'median': no such pooling.* topk, max, mean, attention, random"),
        ({"pooling.k": 0}, "config.model.pooling.k = 0: expected at least 1"),
        ({"pooling.k_share": 1.5}, "config.model.pooling.k_share = 1.5"),
        ({"pooling.kind": "mean", "pooling.k_share": 0.1}, "config.model.pooling.k_share = 0.1: expected 0 for kind 'mean'"),
        ({"residual.kind": "square"}, "config.model.residual.kind = 'square': expected one of abs, signed, none"),
        ({"residual.factor": 3}, "config.model.residual.factor = 3: expected an even number"),
        ({"residual.anchor": (0, 2)}, r"config.model.residual.anchor = \(0, 2\): expected .* 2 x 2 px, each 0 to 1"),
        ({"head.kind": "deep"}, "config.model.head.kind = 'deep'"),
        ({"widths": ()}, r"config.model.widths = \(\): expected at least one width"),
        ({"widths": (4, 0)}, r"config.model.widths = \(4, 0\): expected at least one width, each at least 1"),
        ({"rank_dropout.p_min": 0.5}, "config.model.rank_dropout.p_min = 0.5, p_max = 0.3: expected 0 <= p_min <= p_max < 1"),
        ({"rank_dropout.drop_most": "top"}, "config.model.rank_dropout.drop_most = 'top': expected one of largest, smallest"),
        ({"random_k.order": "up"}, "config.model.random_k.order = 'up': expected one of descending, ascending"),
        ({"compute_dtype": "float64"}, "config.model.compute_dtype = 'float64'"),
    ],
)
def test_an_unknown_part_is_named(changes, field):
    with pytest.raises(ValueError, match=field):
        models.build(small_config(**changes))


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_heads_logits_are_divided_by_dividing_its_last_layer(head):
    model = models.HEADS.choose(head)(small_config(**{"head.kind": head}))
    values = np.random.default_rng(0).normal(size=(5, 6, 4)).astype(np.float32)
    variables = model.init(jax.random.key(0), values)
    divided = {"params": divide_logits(variables["params"], 8)}
    np.testing.assert_allclose(model.apply(divided, values), model.apply(variables, values) / 8, rtol=1e-6)


def test_a_head_without_a_last_linear_layer_has_no_logits_to_divide():
    with pytest.raises(UserError, match="a head of query, scale does not end in a linear layer"):
        divide_logits({"scale": 1.0, "query": 2.0}, 8)


SHALLOW = {"widths": (4, 8)}  # compiles in half the time; windows of 5 px, 2 px apart


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling.kind": "max"},
        {"pooling.kind": "mean", "residual.factor": 8},
        {"pooling.kind": "attention", "head.kind": "mlp"},
        {"pooling.kind": "random", "residual.kind": "signed", "residual.factor": 4, "residual.anchor": (3, 1)},
        {"pooling.k_share": 0.2, "residual.kind": "none"},
    ],
    ids=str,
)
def test_any_part_gives_a_padded_image_its_own_logit(changes):
    model = models.build(small_config(**SHALLOW, **changes))
    variables = jax.jit(lambda: models.init(model, jax.random.key(0)))()
    logits = jax.jit(lambda images, sizes=None: model.apply(variables, images, sizes=sizes).logits)
    alone, canvas = images(1, 29, 39), images(2, 48, 48, seed=1)
    canvas[0, :29, :39] = alone
    padded = logits(canvas, np.array([[29, 39], [48, 48]], np.int32))
    np.testing.assert_allclose(padded, np.concatenate([logits(alone), logits(canvas[1:])]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling.kind": "attention", "random_k.order": "ascending", "rank_dropout.drop_most": "smallest"},
        {"pooling.kind": "random"},
        {"pooling.k_share": 0.2},
    ],
    ids=str,
)
def test_every_weight_of_another_pooling_learns(changes):
    model = models.build(small_config(**SHALLOW, **changes))
    variables = jax.jit(lambda: models.init(model, jax.random.key(0)))()
    keys = {"rank_dropout": jax.random.key(1), "random_k": jax.random.key(2)}

    def loss(params):
        output, _ = model.apply({**variables, "params": params}, images(2, 24, 24), train=True, keys=keys, mutable=("batch_stats",))
        return output.logits.sum() + (0 if output.aux_logits is None else output.aux_logits.sum())

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert all(np.any(leaf) for part in ("project", "head", "pool") for leaf in jax.tree.leaves(gradients.get(part, {})))


def test_a_share_of_the_positions_that_is_k_gives_the_logit_of_k():
    """64 px give 6 x 6 positions, of which 4 are a ninth; the share stays where the size does not."""
    plain, shared = (models.build(small_config(**changes)) for changes in ({}, {"pooling.k_share": 1 / 9}))
    variables = random_variables(plain)
    small, large = images(2, 64, 64), np.tile(images(1, 64, 64), (1, 4, 4, 1))
    np.testing.assert_array_equal(run(shared, variables, small).logits, run(plain, variables, small).logits)
    mean = np.sort(np.asarray(run(shared, variables, large).maps).reshape(-1, 6), axis=0)[::-1]
    groups = [group.mean(0) for group in np.array_split(mean[: round(len(mean) / 9)], 4)]
    np.testing.assert_allclose(run(shared, variables, large).values[0], np.transpose(groups), rtol=2e-2, atol=1e-3)


def test_random_pooling_draws_in_training_and_takes_all_positions_in_evaluation():
    model = models.build(small_config(**{"pooling.kind": "random", "rank_dropout.p_max": 0.0}))
    variables = random_variables(model)
    batch = images(1, 64, 64)

    def trained(seed):
        return run(model, variables, batch, train=True, keys={"random_k": jax.random.key(seed)}, mutable=("batch_stats",))[0]

    assert trained(0).aux_logits is None
    assert not np.array_equal(trained(0).positions, trained(1).positions)
    with pytest.raises(ValueError, match="random_k_pool is random"):
        run(model, variables, batch, train=True, mutable=("batch_stats",))
    output = run(model, variables, batch)
    ordered = np.sort(np.asarray(output.maps).reshape(36, 6), axis=0)[::-1]
    np.testing.assert_allclose(output.values[0], ordered.reshape(4, 9, 6).mean(1).T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_side_that_fills_no_block_is_cut_off(factor):
    model = models.build(small_config(**SHALLOW, **{"residual.factor": factor}))
    variables = random_variables(model)
    whole = run(model, variables, images(1, 35, 47)[:, : 35 // factor * factor, : 47 // factor * factor])
    cut = run(model, variables, images(1, 35, 47))
    assert cut.maps.shape[1:3] == (model.map_side(35), model.map_side(47))
    np.testing.assert_array_equal(cut.logits, whole.logits)


@pytest.mark.parametrize(
    ("residual", "place", "box"),
    [
        ({}, (2, 1), (8, 16, 31, 39)),
        ({"residual.anchor": (1, 1)}, (2, 1), (8, 16, 32, 40)),
        ({"residual.factor": 8, "residual.anchor": (7, 0)}, (2, 1), (8, 16, 31, 40)),
        ({"residual.factor": 16, "residual.anchor": (0, 15)}, (2, 1), (8, 16, 32, 39)),
        ({"residual.factor": 16, "residual.anchor": (0, 0)}, (3, 1), (0, 16, 31, 47)),
        ({"residual.kind": "none", "residual.factor": 16}, (3, 1), (8, 24, 31, 47)),
    ],
    ids=str,
)
def test_no_pixel_outside_what_a_position_sees_moves_it(residual, place, box):
    model = models.build(small_config(**residual))
    assert model.seen(*place) == box
    x0, y0, x1, y1 = box
    variables = jax.jit(lambda: models.init(model, jax.random.key(0)))()
    kept, changed = images(1, 64, 64), images(1, 64, 64, seed=1)
    changed[:, y0:y1, x0:x1] = kept[:, y0:y1, x0:x1]
    maps = jax.jit(lambda images: model.apply(variables, images).maps)(np.concatenate([kept, changed]))
    np.testing.assert_array_equal(maps[0][place], maps[1][place])
