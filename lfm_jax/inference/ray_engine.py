"""Parts of a large set handed out by Ray Data to actors, on this machine or on all of a Ray cluster (extra [ray]).

Every actor holds a network and scores whole parts as one process would alone, so that the logits are the same to the bit.
The images and the folder of parts must lie where all machines see them.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from lfm_jax import models
from lfm_jax.data.images import take_truncated, takes_truncated
from lfm_jax.errors import UserError
from lfm_jax.inference.network import Network
from lfm_jax.inference.parts import Parts
from lfm_jax.inference.records import Record
from lfm_jax.runtime import program_cache, settings
from lfm_jax.runtime.registry import import_parts


class Scorer:
    """An actor. A part that cannot be scored gives a fault in words; the other parts are scored."""

    def __init__(self, parts: Parts, files: Any, weights: Any, *, truncated: bool, imports: Sequence[str]):
        import ray

        settings.settle(os.environ)
        program_cache.turn_on(os.environ)
        take_truncated(truncated)
        for path in imports:
            import_parts(path)
        variables, card = weights
        self.network = Network(models.build(card.model_config()), variables, card)
        self.parts = replace(parts, files=ray.get(files))

    def __call__(self, row: dict[str, Any]) -> dict[str, str]:
        try:
            return {"failed": json.dumps(self.parts.score(self.network, int(row["part"]))), "fault": ""}
        except (UserError, OSError) as error:
            return {"failed": "[]", "fault": f"part {row['part']}: {error}"}


def on_ray(
    parts: Parts, network: Network, indices: Sequence[int], *, actors: int = 0, imports: Sequence[str] = ()
) -> Iterator[list[Record]]:
    """Scores the parts on as many actors, and yields what could not be scored of each, in any order.

    Args:
      actors: how many; 0 for one per GPU of the cluster, or where there is none one per machine.
      imports: files of own parts, as of --import, to be run by every actor.

    Raises:
      UserError: Ray is not installed; or parts could not be scored, which is said once all others are.
    """
    if not indices:
        return
    ray = _connected()
    gpus = int(ray.cluster_resources().get("GPU", 0))
    actors = min(actors or gpus or len(ray.nodes()), len(indices))
    weights = jax.tree.map(np.asarray, network.variables), network.card
    rows = ray.data.from_items([{"part": index} for index in indices], override_num_blocks=len(indices)).map(
        Scorer,
        fn_constructor_args=(replace(parts, files=()), ray.put(list(parts.files)), weights),
        fn_constructor_kwargs={"truncated": takes_truncated(), "imports": list(imports)},
        compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        num_gpus=1 if gpus else 0,
    )
    faults = []
    for row in rows.iter_rows():
        faults += [row["fault"]] if row["fault"] else []
        yield json.loads(row["failed"])
    if faults:
        raise UserError("\n  ".join([f"{len(faults)} parts could not be scored; the same command tries them again:", *faults]))


def _connected() -> Any:
    """Ray, connected to the cluster that RAY_ADDRESS names, or started here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise UserError("--engine=ray takes Ray: pip install 'lfm_jax[ray]'") from None
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING, log_to_driver=False, include_dashboard=False)
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
