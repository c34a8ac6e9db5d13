"""Randomness is a function of (seed, stream, step), and differs where any of them differs."""

import itertools

import jax
import numpy as np

from lfm_jax.runtime.rng import Stream, host_rng, step_key


def test_keys_are_folds_of_the_root():
    expected = jax.random.fold_in(jax.random.fold_in(jax.random.key(7), 1), 5)
    assert (jax.random.key_data(step_key(7, Stream.RANK_DROPOUT, 5)) == jax.random.key_data(expected)).all()


def test_no_two_uses_share_their_draws():
    uses = list(itertools.product((0, 1), Stream, (0, 1)))
    keys = {tuple(np.asarray(jax.random.key_data(step_key(*use))).tolist()) for use in uses}
    draws = {host_rng(*use).integers(2**63) for use in uses}
    assert len(keys) == len(draws) == len(uses)
    assert host_rng(3, Stream.AUGMENT, 9).integers(2**63) == host_rng(3, Stream.AUGMENT, 9).integers(2**63)
