"""`lfm demo`: the folder it writes, what it serves under which headers, and what it says if it cannot."""

import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from lfm_jax.export import demo
from lfm_jax.weights import io as weights_io

PAGE = ("index.html", "page.css", "page.js", "icon.svg", "onnxruntime.wasm")
MODEL = ("model.onnx", "model.onnx.card.json")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The page as a build leaves it, every file empty except its text."""
    folder = tmp_path_factory.mktemp("web_page")
    for name in PAGE:
        (folder / name).touch()
    (folder / "index.html").write_text((Path(__file__).parents[2] / "web" / "index.html").read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "PAGE", folder)
        yield


@pytest.fixture(scope="module")
def served(built, weights_file):
    """The address of a server of the tiny detector's page."""
    with demo.serve(demo.page(weights_io.load(weights_file)), "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def taken():
    """A port that is in use."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_every_file_comes_with_its_type_and_a_policy_that_allows_no_other_host(served):
    types = {}
    for name in ("", *PAGE, *MODEL):
        with urllib.request.urlopen(served + name) as answer:
            types[name] = answer.headers["Content-Type"]
            rules = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
            assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
            assert set(" ".join(rules.values()).split()) == {"'none'", "'self'", "'wasm-unsafe-eval'", "blob:"}
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert types["onnxruntime.wasm"] == "application/wasm"  # or browsers refuse to compile it while it loads
    assert types["page.js"] == "text/javascript; charset=utf-8"
    assert types[""] == types["index.html"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["nothing.txt", "../demo.py", "%2e%2e/demo.py", "model.onnx/"])
def test_nothing_else_is_served(served, path):
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(served + path)


def test_the_folder_holds_the_page_and_the_model_with_its_card(built, weights_file, lfm, tmp_path):
    ran = lfm("demo", f"--weights={weights_file}", f"--out={tmp_path / 'site'}")
    assert ran.status == 0 and "7 files" in ran.out
    assert {file.name for file in (tmp_path / "site").iterdir()} == {*PAGE, *MODEL}
    card = json.loads((tmp_path / "site" / "model.onnx.card.json").read_text())
    assert card["weights_sha256"] == weights_io.load(weights_file).card.weights_sha256


@pytest.mark.parametrize(
    ("protocol", "page"), [("crop256", "crop256"), ("crop224", "crop224"), ("resize256", "crop256"), ("native", "crop256")]
)
def test_weights_with_a_protocol_that_the_page_cannot_apply_are_scored_under_crop256(weights_file, protocol, page):
    weights = weights_io.load(weights_file)
    weights = weights._replace(card=replace(weights.card, protocol=protocol))
    assert demo.for_page(weights).card.protocol == page


def test_if_the_page_was_never_built_the_error_says_how_to(weights_file, lfm, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PAGE", tmp_path / "web_page")
    ran = lfm("demo", f"--weights={weights_file}")
    assert ran.status == 2 and "web && npm ci && npm run build" in ran.err


def test_a_port_in_use_is_named(built, weights_file, lfm, taken):
    ran = lfm("demo", f"--weights={weights_file}", f"--port={taken}")
    assert ran.status == 2 and f"--port={taken}" in ran.err and "in use" in ran.err


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_out_of_range_is_refused(weights_file, lfm, port):
    ran = lfm("demo", f"--weights={weights_file}", f"--port={port}")
    assert ran.status == 2 and f"{port!r}: expected a port number, 0 to 65535" in ran.err


def test_it_serves_until_it_is_interrupted_and_exits_with_status_0(built, weights_file, lfm):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen = []

    def visit():
        while not seen:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                    seen.append(answer.status)
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
    try:
        visitor = threading.Thread(target=visit)
        visitor.start()
        ran = lfm("demo", f"--weights={weights_file}", f"--port={port}")
        visitor.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ran.status == 0 and seen == [200] and f"http://127.0.0.1:{port}/" in ran.out


def test_a_client_that_says_nothing_is_sent_away(served, monkeypatch):
    """Each would hold a thread for as long as the server runs."""
    assert 0 < demo._Handler.timeout <= 60
    monkeypatch.setattr(demo._Handler, "timeout", 0.2)
    address = served.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=5) as idle:
        assert idle.recv(1) == b""
    with urllib.request.urlopen(served) as answer:
        assert answer.status == 200
