"""An evaluation as a process of its own makes it. Arguments: WEIGHTS ROOT; prints the evaluation as JSON."""

import dataclasses
import json
import sys

import lfm_jax
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation.evaluate import evaluate_network

PROTOCOLS, VIEWS, BATCH_SIZE = ["native", "tiles64_stride32_top25"], ["as_is", "fakes_q75"], 5


def evaluated(weights, root):
    """The evaluation of a folder under all of PROTOCOLS and VIEWS, as it comes back from JSON."""
    evaluation = evaluate_network(lfm_jax.load(weights), open_folder(root), PROTOCOLS, views=VIEWS, batch_size=BATCH_SIZE)
    return json.loads(json.dumps(dataclasses.asdict(evaluation)))


if __name__ == "__main__":
    json.dump(evaluated(*sys.argv[1:]), sys.stdout)
