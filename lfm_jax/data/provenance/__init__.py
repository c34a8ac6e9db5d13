"""What a file says about where it came from, beside what its pixels look like. Separate evidence: no score depends on it."""

from lfm_jax.data.provenance.base import CAMERA, GENERATED, NOTHING, Finding, Provenance
from lfm_jax.data.provenance.read import provenance_of, provenance_of_file, read_image

__all__ = ["CAMERA", "GENERATED", "NOTHING", "Finding", "Provenance", "provenance_of", "provenance_of_file", "read_image"]
