"""The folded network against the plain one: sizes, padding, configs, several devices, bfloat16."""

import jax
import numpy as np
import pytest

from lfm_jax import config as config_lib
from lfm_jax import models
from lfm_jax.models import folding
from lfm_jax.models.snet import SNet
from lfm_jax.ops.npr import normalize, npr_residual


def built(seed=0, **changes):
    """A network whose last two blocks are wide, with variables away from the ones and zeros of a fresh BatchNorm."""
    config = config_lib.model()
    config.widths, config.maps = (8, 128, 16, 8), 4
    for name, value in changes.items():
        section, _, field = name.rpartition(".")
        (config[section] if section else config)[field] = value
    model = models.build(config)
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        drawn = (
            rng.normal(size=leaf.shape) / np.sqrt(np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else rng.normal(size=leaf.shape)
        )
        return (np.abs(drawn) + 0.5 if path[-1].key == "var" else drawn).astype(leaf.dtype)

    return model, jax.tree_util.tree_map_with_path(draw, models.abstract_variables(model))


def pixels(*shape):
    return np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)


def both(model, variables, images, sizes):
    folded = jax.jit(folding.forward, static_argnums=0)(model, folding.fold(model, variables), images, sizes)
    plain = jax.jit(lambda variables, images, sizes: model.apply(variables, images, sizes=sizes).logits)
    return np.asarray(folded), np.asarray(plain(variables, images, sizes))


@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 50, 61), (2, 64, 49), (6, 160, 144)])
def test_the_folded_network_gives_the_plain_logits_at_any_size(shape):
    images = pixels(*shape)
    folded, plain = both(*built(), images, np.tile(np.int32(shape[1:]), (shape[0], 1)))
    np.testing.assert_allclose(folded, plain, rtol=1e-5, atol=1e-5)


def test_padding_changes_no_logit():
    model, variables = built()
    sizes = np.array([[48, 48], [64, 50], [57, 71], [80, 80]], np.int32)
    images = pixels(4, 80, 80)
    folded, plain = both(model, variables, images, sizes)
    np.testing.assert_allclose(folded, plain, rtol=1e-5, atol=1e-5)
    for image, (height, width), logit in zip(images, sizes, folded, strict=True):
        alone, _ = both(model, variables, image[None, :height, :width], np.array([[height, width]], np.int32))
        np.testing.assert_allclose(alone, logit, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"residual.kind": "signed", "residual.scale": 2 / 3},
        {"residual.kind": "none"},
        {"residual.factor": 4, "residual.anchor": (1, 3)},
        {"pooling.kind": "mean"},
        {"pooling.kind": "max"},
        {"pooling.kind": "attention"},
        {"pooling.kind": "random"},
        {"pooling.k_share": 0.3, "head.kind": "mlp"},
        {"widths": (4, 8, 8)},
        {"maps": 0},
    ],
    ids=str,
)
def test_the_folded_network_gives_the_plain_logits_for_other_parts(changes):
    folded, plain = both(*built(**changes), pixels(2, 64, 64), np.array([[64, 64], [52, 59]], np.int32))
    np.testing.assert_allclose(folded, plain, rtol=1e-4, atol=1e-5)


def test_a_network_with_a_backbone_of_the_users_is_evaluated_as_it_is():
    class Louder(SNet):
        def __call__(self, x, **how):
            return 2 * super().__call__(x, **how)

    model, variables = built()
    model = model.clone(backbone=Louder(model.backbone.widths))
    folded, plain = both(model, variables, pixels(2, 64, 64), np.full((2, 2), 64, np.int32))
    np.testing.assert_array_equal(folded, plain)


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("tpu", False), ("cuda", False)])
def test_images_pass_one_by_one_on_cpu_only(platform, loops):
    model, variables = built()
    args = folding.fold(model, variables), pixels(2, 256, 256), np.full((2, 2), 256, np.int32)
    lowered = jax.jit(folding.forward, static_argnums=0).trace(model, *args).lower(lowering_platforms=(platform,))
    assert ("stablehlo.while" in lowered.as_text()) == loops


def test_a_network_ended_behind_a_block_gives_the_mean_of_what_is_there():
    model, variables = built()
    images, sizes = pixels(2, 64, 50), np.tile(np.int32([64, 50]), (2, 1))
    output, kept = model.apply(variables, images, capture_intermediates=lambda module, _: (module.name or "").startswith("block"))
    blocks = kept["intermediates"]["backbone"]
    expected = [blocks[f"block{number}"]["__call__"][0] for number in (1, 2, 3)]
    residual = npr_residual(normalize(images, model.mean, model.std), **model.residual)
    for count, activations in enumerate([residual, *expected, output.maps]):
        found = folding.forward(model, folding.fold(model, variables), images, sizes, blocks=count)
        np.testing.assert_allclose(found, activations.mean((1, 2, 3)), rtol=1e-5, atol=1e-6, err_msg=str(count))
