"""`lfm` on a disk that is full after the checkpoint of step 4. Arguments: those of `lfm`.

From then on no file may grow beyond a few bytes (`ulimit -f`), which is as near to a full disk as one gets without root.
"""

import resource
import sys

from lfm_jax import cli
from lfm_jax.weights.checkpoint import Checkpoints


def main():
    save_last, limit = Checkpoints.save_last, resource.RLIMIT_FSIZE

    def fill_the_disk_and_save(self, step, *others):
        if step > 4:
            self.wait()
            resource.setrlimit(limit, (20, resource.getrlimit(limit)[1]))
        save_last(self, step, *others)
        self.wait()

    Checkpoints.save_last = fill_the_disk_and_save
    return cli.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
