"""Top-K pooling, rank dropout and random-k: properties, masks, gradients, and their distributions.

The statistical tests use fixed keys, so they give the same verdict on every run; the bounds are chosen so
that a correct implementation under a fresh key would fail any of them with probability below 1e-6.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lfm_jax.ops.pooling import RandomK, RankDropout, random_k_pool, rank_dropout, top_k_pool
from lfm_jax.ops.pooling_variants import attention_pool, mean_pool, rank_groups, share_of
from tests.helpers.platforms import as_on

FALSE_ALARM = 1e-6


@st.composite
def maps_and_k(draw, masked=False):
    # Few shapes, because each one is compiled, and many contents.
    shape = draw(st.sampled_from([(1, 1, 1, 1), (2, 3, 4, 2), (1, 6, 2, 3), (3, 4, 4, 1)]))
    # Small whole numbers, so that ties are common.
    maps = draw(hnp.arrays(np.float32, shape, elements=st.integers(-3, 3)))
    height, width = (draw(st.integers(1, side)) for side in shape[1:3]) if masked else shape[1:3]
    k = draw(st.sampled_from(sorted({1, (height * width + 1) // 2, height * width})))
    return maps, k, height, width


@given(maps_and_k())
@settings(deadline=None, max_examples=80)
def test_top_k_are_the_largest_in_descending_order_at_their_positions(case):
    maps, k, _, _ = case
    values, positions = map(np.asarray, top_k_pool(maps, k=k))
    rows = maps.reshape(len(maps), -1, maps.shape[-1]).swapaxes(1, 2)
    np.testing.assert_array_equal(values, -np.sort(-rows, axis=-1)[..., :k])
    np.testing.assert_array_equal(np.take_along_axis(rows, positions, -1), values)
    tied = values[..., 1:] == values[..., :-1]
    assert (positions[..., 1:] > positions[..., :-1])[tied].all()


@given(maps_and_k(masked=True))
@settings(deadline=None, max_examples=80)
def test_a_masked_map_pools_as_the_map_alone(case):
    maps, k, height, width = case
    mask = np.zeros(maps.shape[:3], bool)
    mask[:, :height, :width] = True
    values, positions = map(np.asarray, top_k_pool(maps, k=k, mask=mask))
    alone, alone_positions = map(np.asarray, top_k_pool(maps[:, :height, :width], k=k))
    np.testing.assert_array_equal(values, alone)
    np.testing.assert_array_equal(positions // maps.shape[2], alone_positions // width)
    np.testing.assert_array_equal(positions % maps.shape[2], alone_positions % width)


def test_fewer_valid_positions_than_k_are_never_filled_from_the_padding():
    maps = np.full((1, 3, 3, 1), 7, np.float32)
    mask = np.zeros((1, 3, 3), bool)
    mask[0, 0, :2] = True
    values, _ = top_k_pool(maps, k=4, mask=mask)
    np.testing.assert_array_equal(values, [[[7, 7, -np.inf, -np.inf]]])


@pytest.mark.parametrize("k", [0, -1, 10])
def test_k_that_does_not_fit_is_refused_with_the_numbers(k):
    for pool in (top_k_pool, lambda maps, k: random_k_pool(maps, k=k, key=jax.random.key(0))):
        with pytest.raises(ValueError, match=rf"k = {k} .* 3 x 3 map of 9 positions"):
            pool(np.zeros((1, 3, 3, 2), np.float32), k=k)


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        top_k_pool(np.zeros((1, 3, 3, 2), np.float32), k=2, mask=np.ones((1, 3, 2), bool))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("side", [10, 26, 33])  # a GPU fills 26 x 26 values up to 1024
def test_every_platform_selects_the_same_positions_with_ties_and_padding(side, platform):
    maps = np.random.default_rng(0).integers(-3, 3, (2, side, side, 3)).astype(np.float32)
    mask = np.ones(maps.shape[:3], bool)
    mask[1, :, 2:], mask[1, 4:] = False, False  # 8 positions count, fewer than are pooled

    def pooled(maps, mask):
        values, positions = top_k_pool(maps, k=16, mask=mask)
        return values, positions, jax.grad(lambda maps: jnp.where(jnp.isfinite(values), top_k_pool(maps, k=16)[0], 0).sum())(maps)

    for there, here in zip(as_on(platform, pooled)(maps, mask), pooled(maps, mask), strict=True):
        np.testing.assert_array_equal(there, here)


@pytest.mark.parametrize("pool", ["top_k", "random_k"])
def test_gradients_reach_exactly_the_selected_positions(pool):
    maps = np.random.default_rng(0).normal(size=(2, 4, 5, 3)).astype(np.float32)
    pooled = {
        "top_k": lambda maps: top_k_pool(maps, k=4),
        "random_k": lambda maps: random_k_pool(maps, k=4, key=jax.random.key(1)),
    }[pool]
    weights = np.random.default_rng(1).uniform(1, 2, size=(2, 3, 4)).astype(np.float32)
    grads = np.asarray(jax.grad(lambda maps: (pooled(maps)[0] * weights).sum())(maps))
    expected = np.zeros((2, 3, 20), np.float32)
    np.put_along_axis(expected, np.asarray(pooled(maps)[1]), weights, axis=-1)
    np.testing.assert_array_equal(grads.reshape(2, 20, 3).swapaxes(1, 2), expected)


@given(maps_and_k(), st.sampled_from(["descending", "ascending"]), st.integers(0, 2**31))
@settings(deadline=None, max_examples=60)
def test_random_k_draws_distinct_positions_in_the_order_asked_for(case, order, seed):
    maps, k, _, _ = case
    values, positions = map(np.asarray, random_k_pool(maps, k=k, order=order, key=jax.random.key(seed)))
    rows = maps.reshape(len(maps), -1, maps.shape[-1]).swapaxes(1, 2)
    np.testing.assert_array_equal(np.take_along_axis(rows, positions, -1), values)
    assert all(len(set(row)) == k for row in positions.reshape(-1, k))
    steps = np.diff(values, axis=-1)
    assert (steps <= 0).all() if order == "descending" else (steps >= 0).all()


def test_random_k_stays_inside_the_mask():
    maps = np.random.default_rng(0).normal(size=(8, 5, 5, 16)).astype(np.float32)
    mask = np.zeros((8, 5, 5), bool)
    mask[:, :3, :2] = True
    _, positions = map(np.asarray, random_k_pool(maps, k=6, mask=mask, key=jax.random.key(0)))
    assert (positions // 5 < 3).all() and (positions % 5 < 2).all()


def test_random_k_covers_positions_uniformly_and_independently_of_the_values():
    draws, side, k = 20_000, 5, 4
    maps = np.random.default_rng(0).normal(size=(draws, side, side, 1)).astype(np.float32)
    _, positions = random_k_pool(maps, k=k, key=jax.random.key(3))
    counts = np.bincount(np.asarray(positions).ravel(), minlength=side * side)
    # Without replacement, counts vary less than multinomial ones by (1 - k/n): the chi-square is scaled for it.
    n = side * side
    statistic = ((counts - draws * k / n) ** 2).sum() / (draws * k / n * (1 - k / n)) * (n - 1) / n
    assert stats.chi2.sf(statistic, n - 1) > FALSE_ALARM
    assert stats.chi2.cdf(statistic, n - 1) > FALSE_ALARM
    pairs = np.zeros((n, n), int)
    flat = np.sort(np.asarray(positions)[:, 0], axis=-1)
    for i in range(k):
        for j in range(i + 1, k):
            np.add.at(pairs, (flat[:, i], flat[:, j]), 1)
    share = k * (k - 1) / (n * (n - 1))
    tail = stats.norm.isf(FALSE_ALARM / (n * (n - 1)))
    deviation = np.abs(pairs[np.triu_indices(n, 1)] - draws * share) / np.sqrt(draws * share * (1 - share))
    assert deviation.max() < tail


@pytest.mark.parametrize(("drop_most", "ends"), [("largest", (0.3, 0.1)), ("smallest", (0.1, 0.3))])
def test_rank_dropout_drops_each_rank_at_its_own_rate(drop_most, ends):
    batch, maps, k = 500, 40, 16
    dropout = RankDropout(drop_most=drop_most)
    rates = np.asarray(dropout.rates(k))
    np.testing.assert_allclose(rates, np.linspace(*ends, k), rtol=1e-6)
    dropped = rank_dropout(jnp.ones((batch, maps, k)), dropout=dropout, key=jax.random.key(5))
    counts = (np.asarray(dropped) == 0).sum((0, 1))
    tests = batch * maps
    for count, rate in zip(counts, rates, strict=True):
        assert stats.binomtest(int(count), tests, float(rate)).pvalue > FALSE_ALARM / k


def test_rank_dropout_drops_ranks_independently():
    dropped = np.asarray(rank_dropout(jnp.ones((500, 40, 16)), key=jax.random.key(5))) == 0
    correlation = np.corrcoef(dropped.reshape(-1, 16), rowvar=False)[np.triu_indices(16, 1)]
    assert np.abs(correlation).max() * np.sqrt(20_000) < stats.norm.isf(FALSE_ALARM / 240)


def test_rank_dropout_rescales_by_the_mean_rate_so_that_the_sum_keeps_its_expectation():
    values = jnp.ones((2000, 16, 16))
    kept = np.asarray(rank_dropout(values, key=jax.random.key(2)))
    assert set(np.unique(kept.round(6))) == {0.0, np.float32(1 / 0.8).round(6)}
    sums = kept.sum(-1).ravel()
    assert abs(sums.mean() - 16) < stats.norm.isf(FALSE_ALARM / 2) * sums.std() / np.sqrt(sums.size)


def test_the_released_constant_rate_is_p_max_equal_to_p_min():
    np.testing.assert_allclose(RankDropout(p_min=0.1, p_max=0.1).rates(16), 0.1, rtol=1e-6)


@pytest.mark.parametrize(("p_min", "p_max"), [(0.3, 0.1), (-0.1, 0.2), (0.1, 1.0)])
def test_rates_out_of_range_are_refused(p_min, p_max):
    with pytest.raises(ValueError, match=f"p_min = {p_min}, p_max = {p_max}: expected"):
        RankDropout(p_min=p_min, p_max=p_max)


def test_unknown_ends_and_orders_are_refused():
    with pytest.raises(ValueError, match="'top'"):
        RankDropout(drop_most="top")
    with pytest.raises(ValueError, match="'up'"):
        random_k_pool(jnp.ones((1, 2, 2, 1)), k=1, order="up", key=jax.random.key(0))
    with pytest.raises(ValueError, match="'up'"):
        RandomK(order="up")


def test_a_missing_key_is_an_error_not_a_default():
    with pytest.raises(ValueError, match="rank_dropout is random: pass key"):
        rank_dropout(jnp.ones((1, 1, 4)))
    with pytest.raises(ValueError, match="random_k_pool is random: pass key"):
        random_k_pool(jnp.ones((1, 2, 2, 1)), k=1)
    with pytest.raises(TypeError):
        rank_dropout(jnp.ones((1, 1, 4)), RankDropout(), jax.random.key(0))


@pytest.mark.parametrize("name", ["rank_dropout", "random_k"])
def test_a_draw_depends_on_the_place_in_the_batch_not_on_the_batch_size(name):
    maps = np.random.default_rng(0).normal(size=(8, 4, 4, 6)).astype(np.float32)
    draw = {
        "rank_dropout": lambda maps: rank_dropout(top_k_pool(maps, k=4)[0], dropout=RankDropout(0.2, 0.6), key=jax.random.key(0)),
        "random_k": lambda maps: random_k_pool(maps, k=4, key=jax.random.key(0))[0],
    }[name]
    np.testing.assert_array_equal(draw(maps)[:3], draw(maps[:3]))


def test_mean_pool_averages_the_valid_positions():
    maps = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    mask = np.zeros((2, 4, 4), bool)
    mask[:, :2, :3] = True
    values, positions = mean_pool(maps, mask=mask)
    np.testing.assert_allclose(values[..., 0], maps[:, :2, :3].mean((1, 2)), rtol=1e-5)
    assert positions is None
    with pytest.raises(ValueError, match="set k to 1, got 16"):
        mean_pool(maps, k=16)


def test_attention_pool_weights_the_valid_positions_by_their_scores():
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    score = np.random.default_rng(1).normal(size=5).astype(np.float32)
    mask = np.zeros((2, 3, 4), bool)
    mask[:, :2, :3] = True
    values, positions = attention_pool(maps, score, mask=mask)
    rows = maps[:, :2, :3].reshape(2, 6, 5)
    weights = np.exp(rows @ score)
    expected = (rows * (weights / weights.sum(1, keepdims=True))[..., None]).sum(1)
    np.testing.assert_allclose(values[..., 0], expected, rtol=1e-5)
    assert positions is None
    with pytest.raises(ValueError, match="set k to 1, got 16"):
        attention_pool(maps, score, k=16)


def test_ranks_are_averaged_in_equal_groups_of_what_counts():
    values = -np.arange(12, dtype=np.float32).reshape(1, 1, 12).repeat(4, 0)
    values[2:, :, 6:] = -np.inf  # as the padding of an image comes out of top-k
    groups = np.asarray(rank_groups(values, np.array([12, 4, 6, 2]), k=4))[:, 0]
    np.testing.assert_array_equal(groups[0], [-1, -4, -7, -10])
    np.testing.assert_array_equal(groups[1], [0, -1, -2, -3])
    np.testing.assert_allclose(groups[2], [-1 / 3, -5 / 3, -10 / 3, -14 / 3], rtol=1e-6)
    np.testing.assert_array_equal(groups[3], [0, 0, -1, -1])


def test_a_share_is_counted_alike_on_the_host_and_in_a_program_and_never_falls():
    for share in (16 / 900, 0.0178, 0.25, 1 / 3, 1.0):
        positions = np.arange(1, 20000)
        counted = share_of(positions, share)
        np.testing.assert_array_equal(jax.jit(lambda n, share=share: share_of(n, share))(positions), counted)
        assert (np.diff(counted) >= 0).all()
        assert (counted <= positions).all()
        assert counted[0] == 1
    assert share_of(900, 16 / 900) == 16
