"""As a script: one of several processes that exchange values, the last of them late. Prints as JSON what it got.

python -m tests.helpers.exchanging PORT NUMBER COUNT SECONDS_LATE
"""

import json
import sys
import time

from lfm_jax.runtime.distributed import find_cluster, join
from lfm_jax.runtime.exchange import agreed, gather, to_main

LONG = 6 << 20  # characters: more than gRPC takes in one message where it is not told otherwise
ROUNDS = 3


def main(port, number, count, seconds_late):
    number, count = int(number), int(count)
    join(find_cluster({}, coordinator=f"127.0.0.1:{port}", num_processes=count, process_id=number), seconds=60)
    if number == count - 1:
        time.sleep(float(seconds_late))
    everyones = [gather({"number": number, "round": turn}) for turn in range(ROUNDS)]
    handed_over = to_main(number)
    lengths = [len(text) for text in gather("x" * LONG if number else "")]
    json.dump({"gathered": everyones, "to_main": handed_over, "lengths": lengths, "agreed": agreed(f"by {number}")}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
