"""Alternatives are timed by turns; warm-up rounds are run but not counted."""

from lfm_jax.runtime.timing import Timing, in_turns


def test_alternatives_run_once_per_round_in_alternating_order_and_warm_up_does_not_count():
    calls = []
    timings = in_turns({"a": lambda i: calls.append(("a", i)), "b": lambda i: calls.append(("b", i))}, rounds=3, warm_up=1)
    assert [turn for _, turn in calls] == [-1, -1, 0, 0, 1, 1, 2, 2]
    firsts = [name for name, _ in calls[::2]]
    assert firsts in (["a", "b", "a", "b"], ["b", "a", "b", "a"])
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3}
    assert all(second > 0 for timing in timings.values() for second in timing.seconds)


def test_median_and_p95():
    timing = Timing([3.0, 1.0, 2.0])
    assert timing.median == 2.0
    assert 2.8 < timing.p95 <= 3.0
