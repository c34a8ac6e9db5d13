"""The auxiliary branch of random-K sampling reads its values in the order that the config asks for."""

import jax
import numpy as np

from lfm_jax import config, models
from lfm_jax.models import random_variables
from tests.helpers.networks import run

SIDE = 40


def build(order, k):
    """A tiny model that pools `k` values, and its variables."""
    model_config = config.model()
    model_config.update({"widths": (4, 8, 8, 8), "maps": 4})
    model_config.pooling.k, model_config.random_k.order = k, order
    model = models.build(model_config)
    return model, random_variables(model)


def test_a_draw_of_all_positions_reads_as_the_top_k_or_from_their_other_end():
    """Where K is the number of positions every draw is all of them, and only their order is left to choose."""
    k = build("descending", 1)[0].positions(SIDE, SIDE)
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    outputs = {}
    for order in ("descending", "ascending"):
        model, variables = build(order, k)
        outputs[order] = run(model, variables, images, keys={"random_k": jax.random.key(0)})
    np.testing.assert_allclose(outputs["descending"].aux_logits, outputs["descending"].logits, rtol=1e-5)
    smallest_first = np.asarray(outputs["ascending"].values)[..., ::-1].reshape(4, -1)
    head = variables["params"]["head"]
    np.testing.assert_allclose(outputs["ascending"].aux_logits, (smallest_first @ head["kernel"])[:, 0] + head["bias"], rtol=1e-4)
    assert np.abs(outputs["ascending"].aux_logits - outputs["ascending"].logits).min() > 1e-3
