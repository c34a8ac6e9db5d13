"""What the tests of launch scripts share."""

import pytest


@pytest.fixture
def printing(tmp_path):
    """A PATH on which lfm, srun and gcloud print what they were called with."""
    for name in ("lfm", "srun", "gcloud"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@"\n')
        program.chmod(0o755)
    return f"{tmp_path}:/usr/bin:/bin"
