"""For tests of what Apache Beam does: it lives in an environment of its own, and `.ci/run` with CI_FULL=1 runs them there."""

import importlib.util

import pytest

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason="needs the extra [beam], which wants other versions than [test]; see docs/data.md",
)
TWO_PROCESSES = "--runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"


def write_splits(root, noise, counts, suffixes):
    """Noise in ROOT/SPLIT/gan_a/{0_real,1_fake}, so many of each label in each split, with these suffixes in turn."""
    for split, count in counts.items():
        for label in ("0_real", "1_fake"):
            folder = root / split / "gan_a" / label
            folder.mkdir(parents=True)
            for index in range(count):
                seed = 100 * len(split + label) + index + 50 * (label == "1_fake")
                noise(40, 40 + index % 3, seed=seed).save(folder / f"{index:02d}{suffixes[index % len(suffixes)]}")
