"""`python -m lfm_jax` is `lfm`."""

import sys

from lfm_jax.cli import main

sys.exit(main())
