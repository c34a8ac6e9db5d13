"""For tests of what Apache Beam does: it lives in an environment of its own, and `.ci/run` with CI_FULL=1 runs them there."""

import importlib.util

import pytest

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="needs the extra [beam], which wants other versions than [test]; see docs/data.md",
)
TWO_PROCESSES = "--runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"
