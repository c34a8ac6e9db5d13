"""How the verbs that make a file from each photograph tell what became of them."""

from collections import Counter
from collections.abc import Iterable

from lfm_jax.data.prepare.derived import MADE, THERE_ALREADY, Derived
from lfm_jax.runtime.progress import progress, say
from lfm_jax.verbs.arguments import SOME_FAILED

NAMED = 10  # photographs of which nothing was made, in the message at the end


def tell(results: Iterable[Derived], *, total: int, what: str, missing: str) -> int:
    """Makes them under a progress bar called `what`, counts them, names those without `missing`, and returns the status."""
    told = list(progress(results, total=total, what=what))
    counts = Counter(result.state for result in told)
    without = [result for result in told if result.state not in (MADE, THERE_ALREADY)]
    say(f"{counts[MADE]} made, {counts[THERE_ALREADY]} there already, {len(without)} photographs without {missing}")
    for result in without[:NAMED]:
        say(f"  {result.path}: {result.state}")
    return SOME_FAILED if without else 0
