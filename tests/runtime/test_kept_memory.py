"""Memory of a training step on a CPU is kept for the next one, where the command has the process to itself."""

import sys
from contextlib import suppress

import pytest

from lfm_jax import cli
from lfm_jax.runtime import kept_memory
from tests.helpers.training import python

FAULTS = """
import resource
import sys
import threading

from lfm_jax.runtime import kept_memory

if sys.argv[1] == "kept":
    assert kept_memory.keep({"JAX_PLATFORMS": "cpu"})
faults = []

def write():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(1 << 27)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

def write_in_a_thread():
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()

for step in (write, write_in_a_thread) * 2:
    step()
print(*faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have another allocator")
def test_memory_that_was_freed_is_not_cleared_again_in_any_thread():
    given_back, kept = ([int(number) for number in python("-c", FAULTS, how).stdout.split()] for how in ("given back", "kept"))
    assert min(given_back[2:]) > 50, given_back  # of 128 MiB, in pages of 4 KiB or of 2 MiB
    assert max(kept[2:]) < 10, kept


@pytest.mark.parametrize(
    "env",
    [
        {"JAX_PLATFORMS": "cuda"},
        {"JAX_PLATFORMS": "cuda,cpu"},
        {"JAX_PLATFORMS": "cpu", "MALLOC_ARENA_MAX": "4"},
        {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
        {"JAX_PLATFORMS": "cpu", "LD_PRELOAD": "libjemalloc.so"},
    ],
    ids=lambda env: ",".join(env.values()),
)
def test_an_accelerator_and_the_users_own_settings_are_left_alone(env, monkeypatch):
    monkeypatch.setattr(kept_memory.ctypes, "CDLL", lambda _: pytest.fail("the allocator was changed"))
    assert not kept_memory.keep(env)


@pytest.mark.parametrize("plugins", [[], ["a GPU's"]], ids=["none", "one"])
def test_without_a_choice_of_platform_what_is_installed_decides(plugins, monkeypatch):
    monkeypatch.setattr(kept_memory, "find_spec", lambda _: None)
    monkeypatch.setattr(kept_memory, "entry_points", lambda group: plugins)
    monkeypatch.setattr(kept_memory.ctypes, "CDLL", lambda _: Library(allows=True))
    assert kept_memory.keep({}) == (not plugins)


class Library:
    """A C library, which has no memory left for large pages."""

    malloc = staticmethod(lambda _: None)
    free = madvise = staticmethod(lambda *_: pytest.fail("there is no memory"))

    def __init__(self, *, allows):
        self.mallopt = lambda *_: int(allows)


@pytest.mark.parametrize("library", [object(), Library(allows=False)], ids=["of another system", "that refuses"])
def test_another_c_library_changes_nothing(library, monkeypatch):
    monkeypatch.setattr(kept_memory.ctypes, "CDLL", lambda _: library)
    assert not kept_memory.keep({"JAX_PLATFORMS": "cpu"})


@pytest.mark.parametrize(
    ("argv", "kept"),
    [
        (["sweep", "--config=none", "--out=none"], True),
        (["bench", "train", "--weights=none"], True),
        (["bench", "inference", "--weights=none"], False),
        (["predict", "--weights=none", "none.png"], False),
    ],
    ids=["sweep", "bench train", "bench inference", "predict"],
)
def test_only_a_command_that_trains_and_owns_its_process_keeps_memory(argv, kept, monkeypatch, tmp_path):
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kept_memory, "keep", calls.append)
    monkeypatch.setattr(sys, "argv", ["lfm", *argv])
    for given in (None, argv):
        with suppress(SystemExit):
            cli.main(given)
        assert len(calls) == kept
