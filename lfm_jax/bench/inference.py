"""Inference from uint8 images on the host to logits on the host, by batch and dtype, against PyTorch in the same rounds."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lfm_jax.bench import machine
from lfm_jax.bench.measuring import Measure, measure_nothing, mismatch, random_images, short_reason, time_in_turns
from lfm_jax.bench.networks import with_dtype
from lfm_jax.bench.rows import Row
from lfm_jax.bench.stage_costs import flops_per_image
from lfm_jax.inference.network import forward
from lfm_jax.models import Lfm, folding
from lfm_jax.runtime.program_memory import program_memory
from lfm_jax.runtime.sharding import data_mesh, replicated

Scorer = Callable[[np.ndarray], np.ndarray]


def jax_scorer(model: Lfm, variables: Any, batch: int, side: int) -> tuple[Scorer, int]:
    """A compiled scorer of images uint8 [batch, side, side, 3], and the bytes that XLA plans for it on a device."""
    sizes = np.full((batch, 2), side, np.int32)
    device = data_mesh(jax.local_devices()[:1])
    folded = jax.device_put(folding.fold(model, variables), replicated(device))
    program = forward.lower(model, device, folded, jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8), sizes).compile()
    return lambda images: np.asarray(program(folded, images, sizes)), program_memory(program).peak


def rows(
    config: ConfigDict,
    variables: Mapping[str, Any],
    *,
    batches: Sequence[int],
    dtypes: Sequence[str],
    side: int,
    seconds: float,
    baseline: Mapping[str, Scorer],
    measure: Measure = measure_nothing,
) -> Iterator[Row]:
    """A row for each batch size and way of computing, those of `baseline` included.

    Ratios are to the first scorer of `baseline` at the same batch size, or to our first dtype if there is none.

    Args:
      config: of the model.
      seconds: of timing in all, shared among the batch sizes.
      baseline: scorers by name; the last word of a name is the dtype.
      measure: tells the memory that a scorer of `baseline` takes.
    """
    flops = flops_per_image(with_dtype(config, "float32"), side)
    peaks = {f"lfm_jax {dtype}": machine.peak_flops(dtype) for dtype in dtypes}
    for batch in batches:
        images = random_images(batch, side)
        batch_rows, scorers = _checked(config, variables, images, dtypes, baseline, measure)
        timings = time_in_turns({name: _on(score, images) for name, score in scorers.items()}, seconds=seconds / len(batches))
        reference = next((name for name in (*baseline, *timings) if name in timings), "")
        for name, row in batch_rows.items():
            if name in timings:
                row.fill(timings[name], reference=timings[reference], flops=flops, peak=peaks.get(name, 0.0))
            yield row


def _checked(
    config: ConfigDict,
    variables: Mapping[str, Any],
    images: Sequence[np.ndarray],
    dtypes: Sequence[str],
    baseline: Mapping[str, Scorer],
    measure: Measure,
) -> tuple[dict[str, Row], dict[str, Scorer]]:
    """A row for each way of computing, and the scorers whose logits agree with our float32 ones."""
    batch, side = images[0].shape[:2]
    rows, scorers, expected = {}, {}, np.full(batch, np.nan)
    for dtype in dict.fromkeys(("float32", *dtypes)):
        row = Row(f"lfm_jax {dtype}", batch)
        if dtype in dtypes:
            rows[row.what] = row
        try:
            scorers[row.what], row.memory = jax_scorer(with_dtype(config, dtype), variables, batch, side)
            logits = scorers[row.what](images[0])
            expected = logits if dtype == "float32" else expected
            row.skipped = mismatch(logits, expected, dtype)
        except Exception as error:  # one way that fails, out of memory for instance, must not end the table
            row.skipped = short_reason(error)
    for name, score in baseline.items():
        rows[name] = row = Row(name, batch)
        scorers[name] = score
        try:
            logits, row.memory = measure(score, images[0])
            row.skipped = mismatch(logits, expected, name.split()[-1])
        except Exception as error:  # as above
            row.skipped = short_reason(error)
    return rows, {name: scorers[name] for name, row in rows.items() if not row.skipped}


def seconds_by_stage(
    config: ConfigDict, variables: Mapping[str, Any], *, batch: int, dtype: str, side: int, seconds: float
) -> dict[str, float]:
    """Seconds per batch that each stage of the folded network takes: the time up to its end less that up to its beginning.

    Compiling stages together can make one come out at nothing, or a little below; the sum is the time of the whole network.

    Returns:
      {stage: seconds}; {} for a network that is not folded.
    """
    model, images = with_dtype(config, dtype), jax.device_put(random_images(batch, side))
    folded, sizes = jax.device_put((folding.fold(model, variables), np.full((batch, 2), side, np.int32)))
    if "blocks" not in folded:
        return {}
    count = len(model.backbone.widths)
    names = ["residual", *(f"block{number}" for number in range(1, count)), f"block{count}, projection", "top-k, head"]

    def ending_after(blocks: int | None) -> Callable[[int], object]:
        program = jax.jit(functools.partial(folding.forward, model, blocks=blocks))
        return lambda round_: jax.block_until_ready(program(folded, images[round_ % len(images)], sizes))

    programs = {name: ending_after(blocks) for name, blocks in zip(names, [*range(count + 1), None], strict=True)}
    timings = time_in_turns(programs, seconds=seconds)
    medians = [timing.median for timing in timings.values()]
    return {name: end - begin for name, begin, end in zip(timings, [0.0, *medians], medians, strict=False)}


def _on(score: Scorer, images: Sequence[np.ndarray]) -> Callable[[int], object]:
    return lambda round_: score(images[round_ % len(images)])
