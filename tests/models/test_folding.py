"""The folded network against the plain one: sizes, padding and other parts."""

import functools

import jax
import numpy as np
import pytest

from lfm_jax.models import folding
from lfm_jax.models.snet import SNet
from lfm_jax.ops.npr import normalize, npr_residual
from tests.helpers.networks import drawn_snet, images
from tests.helpers.platforms import lowered_text


def both(model, variables, batch, sizes):
    folded = jax.jit(folding.forward, static_argnums=0)(model, folding.fold(model, variables), batch, sizes)
    plain = jax.jit(lambda variables, batch, sizes: model.apply(variables, batch, sizes=sizes).logits)
    return np.asarray(folded), np.asarray(plain(variables, batch, sizes))


@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 50, 61), (2, 64, 49), (6, 160, 144)])
def test_the_folded_network_gives_the_plain_logits_at_any_size(shape):
    batch = images(*shape)
    folded, plain = both(*drawn_snet(), batch, np.tile(np.int32(shape[1:]), (shape[0], 1)))
    np.testing.assert_allclose(folded, plain, rtol=1e-5, atol=1e-5)


def test_padding_changes_no_logit():
    model, variables = drawn_snet()
    sizes = np.array([[48, 48], [64, 50], [57, 71], [80, 80]], np.int32)
    batch = images(4, 80, 80)
    folded, plain = both(model, variables, batch, sizes)
    np.testing.assert_allclose(folded, plain, rtol=1e-5, atol=1e-5)
    for image, (height, width), logit in zip(batch, sizes, folded, strict=True):
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
    folded, plain = both(*drawn_snet(**changes), images(2, 64, 64), np.array([[64, 64], [52, 59]], np.int32))
    np.testing.assert_allclose(folded, plain, rtol=1e-4, atol=1e-5)


def test_a_backbone_of_your_own_is_evaluated_without_folding():
    class Louder(SNet):
        def __call__(self, x, **options):
            return 2 * super().__call__(x, **options)

    model, variables = drawn_snet()
    model = model.clone(backbone=Louder(model.backbone.widths))
    folded, plain = both(model, variables, images(2, 64, 64), np.full((2, 2), 64, np.int32))
    np.testing.assert_array_equal(folded, plain)


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("tpu", False), ("cuda", False)])
def test_images_pass_one_by_one_on_cpu_only(platform, loops):
    model, variables = drawn_snet()
    args = folding.fold(model, variables), images(2, 256, 256), np.full((2, 2), 256, np.int32)
    text = lowered_text(platform, functools.partial(folding.forward, model), *args)
    assert ("stablehlo.while" in text) == loops


def test_a_network_that_stops_after_a_block_gives_the_mean_of_its_activations():
    model, variables = drawn_snet()
    batch, sizes = images(2, 64, 50), np.tile(np.int32([64, 50]), (2, 1))
    output, kept = model.apply(variables, batch, capture_intermediates=lambda module, _: (module.name or "").startswith("block"))
    blocks = kept["intermediates"]["backbone"]
    expected = [blocks[f"block{number}"]["__call__"][0] for number in (1, 2, 3)]
    residual = npr_residual(normalize(batch, model.mean, model.std), residual=model.residual)
    for count, activations in enumerate([residual, *expected, output.maps]):
        means = folding.forward(model, folding.fold(model, variables), batch, sizes, blocks=count)
        np.testing.assert_allclose(means, activations.mean((1, 2, 3)), rtol=1e-5, atol=1e-6, err_msg=str(count))
