"""Inference: uint8 images on the host to logits on the host, by batch and dtype, against PyTorch in the same rounds.

In: a model config and variables. Out: rows for the table, and what each stage of the network takes.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lfm_jax.bench import machine, work
from lfm_jax.bench.common import Row, disagreement, first_line, planned_bytes, random_images, time_in_turns, unmeasured, with_dtype
from lfm_jax.inference.network import forward
from lfm_jax.models import Lfm, folding
from lfm_jax.runtime.sharding import data_mesh, replicated

Scorer = Callable[[np.ndarray], np.ndarray]


def ours(model: Lfm, variables: Any, batch: int, side: int) -> tuple[Scorer, int]:
    """-> scorer of uint8 [batch, side, side, 3], compiled, and the bytes that XLA plans for it on a device."""
    sizes = np.full((batch, 2), side, np.int32)
    device = data_mesh(jax.local_devices()[:1])
    folded = jax.device_put(folding.fold(model, variables), replicated(device))
    program = forward.lower(model, device, folded, jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8), sizes).compile()
    return lambda images: np.asarray(program(folded, images, sizes)), planned_bytes(program)


def rows(
    config: ConfigDict,
    variables: Mapping[str, Any],
    *,
    batches: Sequence[int],
    dtypes: Sequence[str],
    side: int,
    seconds: float,
    baseline: Mapping[str, Scorer],
    measured: Callable[..., tuple[Any, int]] = unmeasured,
) -> Iterator[Row]:
    """A row for each batch and way of computing, PyTorch's included; `seconds` are shared among the batches.

    Ratios are to the first way of `baseline` at the same batch, to our first dtype where there is none.
    """
    flops = work.flops(with_dtype(config, "float32"), side)
    peaks = {f"lfm_jax {dtype}": machine.peak_flops(dtype) for dtype in dtypes}
    for batch in batches:
        images = random_images(batch, side)
        found, ways = _checked(config, variables, images, dtypes, baseline, measured)
        timings = time_in_turns({name: _on(score, images) for name, score in ways.items()}, seconds=seconds / len(batches))
        first = next((name for name in (*baseline, *timings) if name in timings), "")
        for name, row in found.items():
            if name in timings:
                row.fill(timings[name], reference=timings[first], flops=flops, peak=peaks.get(name, 0.0))
            yield row


def _checked(
    config: ConfigDict,
    variables: Mapping[str, Any],
    images: Sequence[np.ndarray],
    dtypes: Sequence[str],
    baseline: Mapping[str, Scorer],
    measured: Callable[..., tuple[Any, int]],
) -> tuple[dict[str, Row], dict[str, Scorer]]:
    """-> a row for each way of computing, and those ways whose logits agree with our float32 ones."""
    batch, side = images[0].shape[:2]
    found, ways, expected = {}, {}, np.full(batch, np.nan)
    for dtype in dict.fromkeys(("float32", *dtypes)):
        row = Row(f"lfm_jax {dtype}", batch)
        if dtype in dtypes:
            found[row.what] = row
        try:
            ways[row.what], row.memory = ours(with_dtype(config, dtype), variables, batch, side)
            logits = ways[row.what](images[0])
            expected = logits if dtype == "float32" else expected
            row.skipped = disagreement(logits, expected, dtype)
        except Exception as error:  # one way that fails, out of memory for one, must not end the table
            row.skipped = first_line(error)
    for name, score in baseline.items():
        found[name] = row = Row(name, batch)
        ways[name] = score
        try:
            logits, row.memory = measured(score, images[0])
            row.skipped = disagreement(logits, expected, name.split()[-1])
        except Exception as error:  # as above
            row.skipped = first_line(error)
    return found, {name: ways[name] for name, row in found.items() if not row.skipped}


def stages(
    config: ConfigDict, variables: Mapping[str, Any], *, batch: int, dtype: str, side: int, seconds: float
) -> dict[str, float]:
    """{stage: seconds a batch} of the folded network, by ending it after each stage: its time less that of the one before it.

    What is compiled together can make a stage come out at nothing, or at a little less; the sum is the whole.
    {} for a network that is evaluated as it is, without folding.
    """
    model, images = with_dtype(config, dtype), jax.device_put(random_images(batch, side))
    folded, sizes = jax.device_put((folding.fold(model, variables), np.full((batch, 2), side, np.int32)))
    if "blocks" not in folded:
        return {}
    count = len(model.backbone.widths)
    names = ["residual", *(f"block{number}" for number in range(1, count)), f"block{count}, projection", "top-k, head"]

    def ended(blocks: int | None) -> Callable[[int], object]:
        cut = jax.jit(functools.partial(folding.forward, model, blocks=blocks))
        return lambda round_: jax.block_until_ready(cut(folded, images[round_ % len(images)], sizes))

    timings = time_in_turns(
        {name: ended(blocks) for name, blocks in zip(names, [*range(count + 1), None], strict=True)}, seconds=seconds
    )
    medians = [timing.median for timing in timings.values()]
    return {name: now - before for name, before, now in zip(timings, [0.0, *medians], medians, strict=False)}


def _on(score: Scorer, images: Sequence[np.ndarray]) -> Callable[[int], object]:
    return lambda round_: score(images[round_ % len(images)])
