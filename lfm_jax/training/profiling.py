"""A trace of a few training steps, for TensorBoard's profile page or Perfetto."""

from pathlib import Path
from typing import Any

import jax

from lfm_jax.runtime.progress import say


class StepProfiler:
    """Traces the steps from the first to the last, both included, into `folder`; (0, 0) traces nothing."""

    def __init__(self, steps: tuple[int, int], folder: Path):
        self._first, self._last = steps
        self._folder = folder
        self._running = False

    def before(self, step: int) -> None:
        """To be called before every step: begins the trace at the first one."""
        if step == self._first:
            options = jax.profiler.ProfileOptions()
            # The tracer of Python frames sometimes crashes while other threads (loader, checkpoints) start and end.
            options.python_tracer_level = 0
            jax.profiler.start_trace(str(self._folder), profiler_options=options)
            self._running = True

    def after(self, step: int, result: Any) -> None:
        """To be called after every step with its result: ends the trace at the last one, when the result is ready."""
        if self._running and step >= self._last:
            jax.block_until_ready(result)
            jax.profiler.stop_trace()
            self._running = False
            say(f"trace of steps {self._first} to {step}: in {self._folder.name}/ of the workdir")
