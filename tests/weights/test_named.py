"""Weights by name: fetched once, proven by their hash, found without a network, and one plain line where they are not."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import lfm_jax
from lfm_jax.errors import WeightsError
from lfm_jax.weights import io as weights_io
from lfm_jax.weights import named
from tests.helpers.file_server import FileServer


@pytest.fixture
def server():
    server = FileServer()
    yield server
    server.close()


@pytest.fixture
def registry(tmp_path, monkeypatch, weights_file, server):
    """A registry of two: `small`, which the server has, and is the default; and `ours`, which lies in the package."""
    content = weights_file.read_bytes()
    server.files["/small.safetensors"] = content
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "ours.safetensors").write_bytes(content)
    common = (
        f'about = "for tests"\nlicence = "Apache-2.0"\nsize = {len(content)}\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    )
    (tmp_path / "registry.toml").write_text(
        f'default = "small"\n[weights.small]\n{common}file = "small.safetensors"\nurls = ["{server.url}/small.safetensors"]\n'
        f'[weights.ours]\n{common}file = "ours.safetensors"\n'
    )
    monkeypatch.setattr(named, "REGISTRY", tmp_path / "registry.toml")
    monkeypatch.setattr(named, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("LFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LFM_WEIGHTS_MIRROR", raising=False)
    monkeypatch.chdir(tmp_path)
    clear()
    yield tmp_path
    clear()


def clear():
    named.entries.cache_clear()
    named.default_name.cache_clear()


def cached(folder):
    return sorted(file.name for file in (folder / "cache" / "weights").glob("*"))


def test_a_name_is_fetched_once_and_gives_the_weights_with_their_licence(registry, server, weights_file, capsys):
    for _ in range(2):
        weights = weights_io.load("small")
    assert weights.card.weights_sha256 == weights_io.load(weights_file).card.weights_sha256
    assert weights.card.licence == "Apache-2.0"
    assert server.asked == ["/small.safetensors"]
    assert cached(registry) == ["small.safetensors"]
    assert f"fetching the weights small (0.0 MB) from {server.url}" in capsys.readouterr().err


def test_no_weights_at_all_means_the_default_even_beside_a_folder_of_that_name(registry, lfm, noise, weights_file):
    noise(64, 64).save(registry / "photo.png")
    (registry / "small").mkdir()
    ran = lfm("predict", "photo.png")
    assert ran.status == 0
    assert "lfm predict: weights small (for tests; Apache-2.0)" in ran.err
    assert ran.out == lfm("predict", "photo.png", f"--weights={weights_file}").out
    assert lfm_jax.load().card.weights_sha256 == lfm_jax.load(weights_file).card.weights_sha256
    (registry / "small").rmdir()
    assert lfm_jax.load("small").card.weights_sha256 == lfm_jax.load(weights_file).card.weights_sha256


def test_a_file_or_folder_that_exists_wins_over_a_name(registry, weights_file, server):
    weights_io.convert(weights_file, "small")
    weights_io.load("small")
    assert not server.asked


@pytest.mark.parametrize("verb", [["convert", "ours"], ["export", "--weights=ours", "--format=safetensors"]])
def test_weights_in_the_package_need_no_network(registry, server, lfm, verb):
    assert lfm(*verb, "new.safetensors").status == 0
    assert not server.asked and not cached(registry)


@pytest.mark.parametrize("kept", [b"", b"half a file"])
def test_a_damaged_file_in_the_cache_is_fetched_again(registry, server, weights_file, kept):
    (registry / "cache" / "weights").mkdir(parents=True)
    (registry / "cache" / "weights" / "small.safetensors").write_bytes(kept)
    assert weights_io.load("small")
    assert (registry / "cache" / "weights" / "small.safetensors").read_bytes() == weights_file.read_bytes()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("other content", "another file, with another sha256, which was discarded"),
        ("cut off", "the connection broke off"),
        ("not there", "404 Client Error: Not Found"),
        ("no server", "no connection"),
    ],
)
def test_a_failed_download_is_one_line_that_says_how_to_go_on_and_leaves_nothing(registry, server, lfm, fault, reason):
    if fault == "other content":
        server.files["/small.safetensors"] = b"something else"
    elif fault == "cut off":
        server.cut = 1
    elif fault == "not there":
        server.files.clear()
    else:
        server.close()
    ran = lfm("weights", "small")
    assert ran.status == 2
    line = ran.err.splitlines()[-1]
    place, sha256 = registry / "cache" / "weights" / "small.safetensors", named.entries()["small"].sha256
    assert f"{server.url}/small.safetensors: {reason}" in line
    assert f"sha256 {sha256} at {place}" in line and "LFM_WEIGHTS_MIRROR" in line
    assert not cached(registry)
    if fault == "cut off":  # the same command again
        assert lfm("weights", "small").out == f"{place}\n"


def test_the_next_address_is_tried_where_one_has_another_file(registry, server):
    server.files["/old.safetensors"] = b"an older version"
    entry = named.entries()["small"]
    assert named.fetch(replace(entry, urls=(f"{server.url}/old.safetensors", *entry.urls))).is_file()
    assert server.asked == ["/old.safetensors", "/small.safetensors"]


@pytest.mark.parametrize("kind", ["folder", "address", "~"])
def test_a_mirror_takes_the_place_of_the_public_address(registry, server, monkeypatch, weights_file, kind):
    (registry / "mirror").mkdir()
    (registry / "mirror" / "small.safetensors").write_bytes(weights_file.read_bytes())
    server.files = {"/mirror/small.safetensors": weights_file.read_bytes()}
    monkeypatch.setenv("HOME", str(registry))
    where = {"folder": str(registry / "mirror"), "~": "~/mirror", "address": f"{server.url}/mirror/"}[kind]
    monkeypatch.setenv("LFM_WEIGHTS_MIRROR", where)
    assert weights_io.load("small")
    assert server.asked == (["/mirror/small.safetensors"] if kind == "address" else [])


@pytest.mark.parametrize("content", [None, b"other"])
def test_a_mirror_without_the_file_is_named(registry, monkeypatch, lfm, content):
    (registry / "mirror").mkdir()
    if content:
        (registry / "mirror" / "small.safetensors").write_bytes(content)
    monkeypatch.setenv("LFM_WEIGHTS_MIRROR", "mirror")
    ran = lfm("weights", "small")
    assert ran.status == 2 and len(ran.err.splitlines()) == 1
    assert ("is not the weights small: its sha256 is" if content else "there is no small.safetensors in it") in ran.err


def test_a_cache_that_cannot_be_written_is_named(registry, monkeypatch, lfm):
    (registry / "file").write_text("")
    monkeypatch.setenv("LFM_CACHE", str(registry / "file"))
    ran = lfm("weights", "small")
    assert ran.status == 2 and f"{registry / 'file' / 'weights'}" in ran.err and "LFM_CACHE may name another folder" in ran.err


FETCH = """
import sys
from pathlib import Path
from lfm_jax.weights import named
named.REGISTRY = Path(sys.argv[1])
print(named.locate("small"))
"""


def test_two_processes_at_once_both_get_the_whole_file(registry, weights_file):
    command = [sys.executable, "-c", FETCH, str(registry / "registry.toml")]
    fetching = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    places = {process.communicate()[0].strip() for process in fetching}
    assert [process.returncode for process in fetching] == [0] * 3
    assert [Path(place).read_bytes() for place in places] == [weights_file.read_bytes()]
    assert cached(registry) == ["small.safetensors"]


def test_the_list_says_what_is_here(registry, lfm):
    rows = {line.split()[0]: line for line in lfm("weights").out.splitlines() if "for tests" in line}
    assert "fetched at first use" in rows["small"] and "in the package" in rows["ours"]
    lfm("weights", "small")
    assert "fetched at first use" not in lfm("weights").out
    assert "small is used where no --weights are given" in lfm("weights").out


def test_an_unknown_name_is_answered_with_the_known_ones(registry, lfm):
    assert "no weights are called smal, did you mean 'small'?: there are small, ours" in lfm("weights", "smal").err
    with pytest.raises(WeightsError, match="no weights at smal, and no weights of that name: small, ours"):
        weights_io.load("smal")


def test_the_registry_of_the_package_is_whole():
    entries = named.entries()
    assert not entries[named.default_name()].urls, "what is used without a flag has to work without a network"
    for entry in entries.values():
        assert entry.about and entry.licence and len(entry.sha256) == 64 and entry.size > 0
        if not entry.urls:
            assert hashlib.sha256(entry.place.read_bytes()).hexdigest() == entry.sha256
            assert entry.place.suffix == ".safetensors"


def test_the_authors_file_is_the_one_of_the_registry(shared, monkeypatch):
    monkeypatch.setenv("LFM_WEIGHTS_MIRROR", str(shared / "weights"))
    monkeypatch.setenv("LFM_CACHE", "/nonexistent")
    weights = weights_io.load("lfm")
    assert weights.card.weights_sha256.startswith("eb0cbbb805c6")
    assert json.loads(weights.card.to_json())["licence"] == "Apache-2.0"
    assert (shared / "weights" / "lfm_bs_model.pth").stat().st_size == named.entries()["lfm"].size


@pytest.fixture
def repository(server, weights_file):
    """OWNER/NAME on a server that speaks as much of the Hub's protocol as a download needs."""
    files = {"model.safetensors": weights_file.read_bytes(), "other.safetensors": weights_file.read_bytes()}
    for revision in ("main", "v1"):
        for name, content in files.items():
            path = f"/OWNER/NAME/resolve/{revision}/{name}"
            server.files[path] = content
            server.headers[path] = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": "0" * 40}
            server.headers[f"{path}.card.json"] = {"X-Error-Code": "EntryNotFound"}
    return server


LOAD = "import sys\nfrom lfm_jax.weights import io\nprint(io.load(sys.argv[1]).card.weights_sha256)"


def load_from_hub(address, server, home):
    pytest.importorskip("huggingface_hub", reason="speaks to the Hub")
    environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run([sys.executable, "-c", LOAD, address], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("address", ["hf://OWNER/NAME", "hf://OWNER/NAME@v1", "hf://OWNER/NAME/other.safetensors"])
def test_weights_on_the_hub_are_loaded_by_their_address(address, repository, weights_file, tmp_path):
    ran = load_from_hub(address, repository, tmp_path)
    assert ran.stdout.strip() == weights_io.load(weights_file).card.weights_sha256, ran.stderr


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://OWNER", "expected hf://OWNER/NAME"),
        ("hf://OWNER/NAME/none.pth", "the repository has no none.pth"),
        ("hf://OWNER/NONE", "there is no such repository, or it is private"),
    ],
)
def test_what_is_not_on_the_hub_is_said_in_one_line(address, message, repository, tmp_path):
    for ending in ("", ".card.json"):
        repository.headers[f"/OWNER/NAME/resolve/main/none.pth{ending}"] = {"X-Error-Code": "EntryNotFound"}
        repository.headers[f"/OWNER/NONE/resolve/main/model.safetensors{ending}"] = {"X-Error-Code": "RepoNotFound"}
    ran = load_from_hub(address, repository, tmp_path)
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith(f"lfm_jax.errors.WeightsError: {address}") and message in last


@pytest.mark.parametrize("failure", ["no connection", "connection reset"])
def test_a_card_that_cannot_be_fetched_is_not_taken_for_none(failure, tmp_path, weights_file, monkeypatch):
    """With another threshold than its own, a network would answer otherwise."""
    hub = pytest.importorskip("huggingface_hub", reason="speaks to the Hub")
    errors = pytest.importorskip("huggingface_hub.errors")
    error = errors.LocalEntryNotFoundError if failure == "no connection" else OSError
    monkeypatch.setenv("HF_HOME", str(tmp_path))

    def fetch(_, name, *, revision):
        if name.endswith(".card.json"):
            raise error(failure)
        return str(weights_file)

    monkeypatch.setattr(hub, "hf_hub_download", fetch)
    with pytest.raises(WeightsError, match=r"hf://OWNER/NAME:? (the Hub cannot be reached|cannot be fetched)"):
        weights_io.load("hf://OWNER/NAME")
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *_, **__: str(weights_file))
    if failure == "no connection":  # fetched before, with all that there is
        assert weights_io.load("hf://OWNER/NAME").card.weights_sha256 == weights_io.load(weights_file).card.weights_sha256


@pytest.mark.slow  # the Hub's library tries again for 20 s
def test_without_a_network_the_hub_is_named(repository, tmp_path):
    repository.close()
    ran = load_from_hub("hf://OWNER/NAME", repository, tmp_path)
    assert "hf://OWNER/NAME: the Hub cannot be reached" in ran.stderr.strip().splitlines()[-1]


def test_without_huggingface_hub_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(WeightsError, match=r"pip install 'lfm_jax\[hub\]'"):
        weights_io.load("hf://OWNER/NAME")
