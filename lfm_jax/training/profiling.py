"""A trace of a few training steps, for TensorBoard's profile page or Perfetto."""

from pathlib import Path
from typing import Any

import jax

from lfm_jax.runtime.progress import say


class StepProfiler:
    """Traces steps first to last, both included, into `folder`; (0, 0) traces nothing."""

    def __init__(self, steps: tuple[int, int], folder: Path):
        self._first, self._last = steps
        self._folder = folder
        self._running = False

    def before(self, step: int) -> None:
        if step == self._first:
            options = jax.profiler.ProfileOptions()
            # The tracer of Python frames crashes now and then while other threads (loader, checkpoints) come and go.
            options.python_tracer_level = 0
            jax.profiler.start_trace(str(self._folder), profiler_options=options)
            self._running = True

    def after(self, step: int, result: Any) -> None:
        if self._running and step >= self._last:
            jax.block_until_ready(result)
            jax.profiler.stop_trace()
            self._running = False
            say(f"trace of steps {self._first} to {step}: in the workdir's {self._folder.name}/")
