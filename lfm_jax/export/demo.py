"""The page that scores images in the browser: its files with the weights' model beside them, and a small server for them.

In: weights. Out: files for any static host, or an address on this machine. `web/` has the page's source; built, it lies in PAGE.
"""

import dataclasses
import http.server
import re
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lfm_jax.data import protocols
from lfm_jax.errors import UserError
from lfm_jax.export import export
from lfm_jax.weights.card import DEFAULT_PROTOCOL
from lfm_jax.weights.io import Weights

PAGE = Path(__file__).with_name("web_page")
SOURCE = Path(__file__).resolve().parents[2] / "web"
MODEL = "model.onnx"
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
    """Weights -> the files of the page, {name: content}, the checked ONNX model and its card among them.

    The page crops and never resizes, so the card must name such a protocol: see `for_page`.

    Raises:
      UserError: the page is not built, or `export` refuses the weights.
    """
    if not (PAGE / "index.html").is_file():
        raise UserError(f"the page is not built, there is nothing in {PAGE}: {_how_to_build()}")
    with tempfile.TemporaryDirectory() as scratch:
        export(weights, Path(scratch) / MODEL, format="onnx")
        return {file.name: file.read_bytes() for folder in (PAGE, Path(scratch)) for file in sorted(folder.iterdir())}


def for_page(weights: Weights) -> Weights:
    """With crop256 in place of a protocol that resizes, pads, cuts tiles or takes images of any size whole."""
    how = protocols.parse(weights.card.protocol)
    if how.crop and not how.resize and not how.pad:
        return weights
    return weights._replace(card=dataclasses.replace(weights.card, protocol=DEFAULT_PROTOCOL))


def serve(files: dict[str, bytes], host: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server of `files` and of nothing else, listening; `serve_forever` runs it. Port 0 takes a free one.

    Raises:
      UserError: no such host here, or the port is taken or not ours to have.
    """
    handler = type("Handler", (_Handler,), {"files": files, "policy": policy(files["index.html"].decode())})
    try:
        return http.server.ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise UserError(f"--host={host} --port={port}: {error.strerror}; --port=0 takes a free one") from None


def policy(index: str) -> str:
    """The page's own content security policy, and what only a header can add: no other page may frame it."""
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', index)
    assert found, "index.html states its policy"
    return f"{found[1]}; frame-ancestors 'none'"


class _Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    policy: str

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
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
        self.send_header("Cache-Control", "no-cache")  # other weights may be here next time
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody wants a line for every file."""


def _how_to_build() -> str:
    where = f"cd {SOURCE}" if SOURCE.is_dir() else "in the folder web/ of a checkout of the sources, installed with pip install -e"
    return f"with Node.js 18 or newer, {where} && npm ci && npm run build"
