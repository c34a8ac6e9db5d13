"""Labelled images, wherever they come from: folders, lists, prepared records, scenes drawn on demand, or a source of your own."""

from lfm_jax.data.sources.base import Example, MissingSplitError, Source
from lfm_jax.data.sources.folder import FileSource, open_files, open_folder
from lfm_jax.data.sources.joined import JoinedSource
from lfm_jax.data.sources.listed import open_list
from lfm_jax.data.sources.open import SOURCES, open_split, open_test_split, open_tests, open_validation
from lfm_jax.data.sources.records import RecordSource

__all__ = [
    "SOURCES",
    "Example",
    "FileSource",
    "JoinedSource",
    "MissingSplitError",
    "RecordSource",
    "Source",
    "open_files",
    "open_folder",
    "open_list",
    "open_split",
    "open_test_split",
    "open_tests",
    "open_validation",
]
