"""A server on 127.0.0.1 that hands out bytes by path, and can misbehave: cut answers off, stall, or fail."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Serves `files`, {path: bytes}, from construction until `close`. Paths without a file get 404.

    Attributes:
      headers: more headers, by path.
      cut: how many further GET answers break off in the middle.
      asked: the paths that were asked for with GET, in order.
    """

    def __init__(self, files=None):
        self.files, self.headers, self.cut, self.asked = dict(files or {}), {}, 0, []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    owner: FileServer

    def do_HEAD(self):
        self._answer(b"")

    def do_GET(self):
        self.owner.asked.append(self.path)
        content = self.owner.files.get(self.path, b"")
        if self.owner.cut > 0:
            self.owner.cut -= 1
            content = content[: len(content) // 2]
        self._answer(content)

    def _answer(self, body):
        there = self.path in self.owner.files
        self.send_response(200 if there else 404)
        for name, value in self.owner.headers.get(self.path, {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.owner.files.get(self.path, b""))))
        self.end_headers()
        if there:
            self.wfile.write(body)

    def log_message(self, *_):
        """Silent."""
