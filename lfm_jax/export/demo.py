"""The page that scores images in the browser: its files with the weights' ONNX model beside them, and a small server for them.

The source of the page is in `web/`; `npm run build` there puts the page into PAGE.
"""

import dataclasses
import http.server
import re
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lfm_jax.data import protocols
from lfm_jax.errors import UserError
from lfm_jax.export.formats import export
from lfm_jax.weights.card import DEFAULT_PROTOCOL
from lfm_jax.weights.io import Weights

PAGE = Path(__file__).with_name("web_page")
SOURCE = Path(__file__).resolve().parents[2] / "web"
MODEL = "model.onnx"
SECONDS_TO_ASK = 10  # a client that connects and says nothing would hold a thread for ever
SECONDS_TO_TAKE = 300  # one file, over a slow line
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}


def page(weights: Weights) -> dict[str, bytes]:
    """The files of the page by name, with the checked ONNX model of the weights and its card among them.

    The page crops and never resizes, so the weights' card must name a protocol that does the same: see `for_page`.

    Raises:
      UserError: the page is not built, or `export` refuses the weights.
    """
    if not (PAGE / "index.html").is_file():
        raise UserError(f"the page is not built: there is no index.html in {PAGE}. Build it {_how_to_build()}")
    with tempfile.TemporaryDirectory() as scratch:
        export(weights, Path(scratch) / MODEL, format="onnx")
        return {file.name: file.read_bytes() for folder in (PAGE, Path(scratch)) for file in sorted(folder.iterdir())}


def for_page(weights: Weights) -> Weights:
    """The weights with a protocol that the page can follow: their own if it only crops, DEFAULT_PROTOCOL otherwise."""
    protocol = protocols.parse(weights.card.protocol)
    if protocol.crop and not protocol.resize and not protocol.pad:
        return weights
    return weights._replace(card=dataclasses.replace(weights.card, protocol=DEFAULT_PROTOCOL))


def serve(files: dict[str, bytes], host: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server that listens and serves these files and nothing else, once `serve_forever` is called on it.

    Args:
      files: content by name, as from `page`.
      port: 0 takes a free one.

    Raises:
      UserError: this machine has no such address, or the port is taken or not allowed.
    """
    handler = type("Handler", (_Handler,), {"files": files, "policy": policy(files["index.html"].decode())})
    try:
        return http.server.ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise UserError(f"--host={host} --port={port}: {error.strerror}; --port=0 takes a free port") from None


def policy(index: str) -> str:
    """The content security policy that the page states, and what only a header can add: no other page may frame it."""
    stated = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', index)
    assert stated, "index.html states its policy"
    return f"{stated[1]}; frame-ancestors 'none'"


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    policy: str
    timeout = SECONDS_TO_ASK

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self.connection.settimeout(SECONDS_TO_TAKE)
        name = urlsplit(self.path).path.removeprefix("/") or "index.html"
        content = self.files.get(name)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", TYPES[PurePosixPath(name).suffix])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")  # the next server here may have other weights
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Silent: nobody wants a line for every file."""


def _how_to_build() -> str:
    folder = SOURCE if SOURCE.is_dir() else "web/ of a checkout of the sources, installed with pip install -e"
    return f"with Node.js 18 or newer: cd {folder} && npm ci && npm run build"
