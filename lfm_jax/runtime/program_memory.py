"""How much device memory a compiled program needs."""

from typing import Any, NamedTuple


class ProgramMemory(NamedTuple):
    """Bytes on each device: the arguments, what is held between them and the results, and the most in use at once."""

    arguments: int
    temporaries: int
    peak: int


def program_memory(program: Any) -> ProgramMemory:
    """What XLA plans for a compiled program, a `jax.stages.Compiled`; results that reuse an argument's memory count once."""
    plan = program.memory_analysis()
    arguments_and_results = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    peak = max(getattr(plan, "peak_memory_in_bytes", 0), arguments_and_results + plan.temp_size_in_bytes)
    return ProgramMemory(plan.argument_size_in_bytes, plan.temp_size_in_bytes, peak)
