"""As a script: one of two processes that evaluate a folder together, the second of them slow to hash. Prints JSON.

    python -m tests.helpers.two_processes PORT NUMBER SECONDS_LATE WEIGHTS ROOT CELLS [WAIT_SECONDS]

`waited_s` is the time that the hashing took, with the wait for the other.
"""

import json
import sys
import time
from pathlib import Path

import jax

import lfm_jax
from lfm_jax.data.sources.folder import open_folder
from lfm_jax.evaluation import cells
from lfm_jax.evaluation.evaluate import evaluate_network
from lfm_jax.runtime import exchange
from lfm_jax.runtime.distributed import find_cluster, join

PART_IMAGES = 5
PROTOCOL = "crop64"


def main(port, number, seconds_late, weights, root, folder, wait_seconds="600"):
    join(find_cluster({}, coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=int(number)), seconds=60)
    cells.PART_IMAGES = PART_IMAGES
    exchange.WAIT_SECONDS = float(wait_seconds)
    source, network = open_folder(Path(root)), lfm_jax.load(weights)
    if number == "1":
        source.content_hash = lambda index, read=source.content_hash: (time.sleep(float(seconds_late)), read(index))[1]
    start = time.monotonic()
    sha256 = cells.data_hash(source, threads=100)
    waited = time.monotonic() - start
    store = cells.CellStore(Path(folder), sha256)
    evaluation = evaluate_network(network, source, [PROTOCOL], batch_size=4, cells=store)
    again = evaluate_network(network, source, [PROTOCOL], batch_size=4, cells=store)
    found = {"predictions": evaluation.predictions, "rows": evaluation.rows, "errors": evaluation.errors}
    json.dump({**found, "same_again": again == evaluation, "data_sha256": sha256, "waited_s": waited}, sys.stdout)
    return jax.process_index()


if __name__ == "__main__":
    main(*sys.argv[1:])
