"""A fake Google Cloud Storage on 127.0.0.1 with one bucket in memory.

It speaks as much of the JSON API as the libraries under `lfm` use. Tests read and damage `objects`, and set `environment` to
send a process there.
"""

import base64
import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit


class FakeStorage:
    """A server of one bucket, from construction until `close`. `objects` maps names to bytes."""

    def __init__(self, bucket="bucket"):
        self.bucket = bucket
        self.objects: dict[str, bytes] = {}
        self.generations: dict[str, int] = {}
        self.lock = threading.Lock()
        self.read_only = False  # True: every write is refused with 403
        self.uploads: dict[str, bytes] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.storage = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.environment = {
            "STORAGE_EMULATOR_HOST": self.url,  # gcsfs and google-cloud-storage
            "TENSORSTORE_GCS_HTTP_URL": self.url,
            "GOOGLE_CLOUD_PROJECT": "project",
            "NO_GCE_CHECK": "true",  # or gcsfs asks for the metadata server of a cloud machine
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # that would speak gRPC to the real service
            "FSSPEC_GCS_TOKEN": "anon",
        }

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def put(self, name, data, *, only_if=None):
        """Store an object and return its generation.

        With `only_if` it is stored only over an object of that generation, 0 for no object; otherwise None is returned.
        """
        with self.lock:
            if only_if is not None and self.generations.get(name, 0) != only_if:
                return None
            self.objects[name] = data
            self.generations[name] = max(self.generations.values(), default=0) + 1
            return self.generations[name]

    def begin_upload(self):
        with self.lock:
            upload_id = str(len(self.uploads))
            self.uploads[upload_id] = b""
            return upload_id

    def delete(self, name):
        with self.lock:
            self.generations.pop(name, None)
            return self.objects.pop(name, None)

    def download(self, prefix, folder):
        """Write the objects under `prefix` as files into `folder`."""
        for name, data in self.objects.items():
            if name.startswith(f"{prefix}/"):
                path = Path(folder, name.removeprefix(f"{prefix}/"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return Path(folder)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    storage: FakeStorage

    def handle_error(self, request, client_address):
        """Say nothing of closed connections: gcsfs asks for an object and a listing at once, and hangs up on the slower."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        storage, (kind, name), query = self.server.storage, *self._address()
        if kind == "bucket":
            return self._json({"kind": "storage#bucket", "name": storage.bucket})
        if kind == "objects":
            return self._json(self._listing(query))
        if kind != "object" or name not in storage.objects:
            return self._fail(404)
        with storage.lock:
            data, generation = storage.objects[name], storage.generations[name]
        if query.get("ifGenerationNotMatch") == str(generation):
            return self._fail(304)
        if query.get("ifGenerationMatch", str(generation)) != str(generation):
            return self._fail(412)
        if query.get("alt") != "media":
            return self._json(self._resource(name))
        byte_range = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not byte_range:
            return self._send(200, data, **{"x-goog-generation": generation})
        first, last = byte_range.groups()
        start = int(first) if first else max(len(data) - int(last), 0)
        stop = min(int(last) + 1, len(data)) if first and last else len(data)
        if start >= len(data):
            return self._fail(416)
        span = f"bytes {start}-{stop - 1}/{len(data)}"
        return self._send(206, data[start:stop], **{"x-goog-generation": generation, "Content-Range": span})

    def do_POST(self):
        """Store an object sent whole, or (resumable) in chunks that become an object with the last one."""
        storage, (kind, _), query = self.server.storage, *self._address()
        name, body = query.get("name"), self.rfile.read(int(self.headers["Content-Length"]))
        if storage.read_only:
            return self._fail(403)
        if kind != "objects" or query.get("uploadType") not in ("media", "resumable"):
            return self._fail(501)
        if query["uploadType"] == "resumable" and "upload_id" not in query:
            upload_id = storage.begin_upload()
            return self._send(200, b"", Location=f"{storage.url}{self.path}&upload_id={upload_id}")
        if query["uploadType"] == "resumable":
            body = storage.uploads[query["upload_id"]] = storage.uploads[query["upload_id"]] + body
            if self.headers["Content-Range"].endswith("/*"):
                return self._send(308, b"", Range=f"bytes=0-{len(body) - 1}")
        only_if = query.get("ifGenerationMatch")
        if not storage.put(name, body, only_if=None if only_if is None else int(only_if)):
            return self._fail(412)
        return self._json(self._resource(name))

    def do_DELETE(self):
        (kind, name), _ = self._address()
        if kind != "object" or self.server.storage.delete(name) is None:
            return self._fail(404)
        return self._send(204, b"")

    def log_message(self, *_):
        pass

    def _address(self):
        """What the request is for, (bucket, ""), (objects, "") or (object, NAME), and its query."""
        url = urlsplit(self.path)
        match = re.fullmatch(r"/(?:upload/|download/)?storage/v1/b/([^/]+)(?:/(o)(?:/(.+))?)?", url.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if not match or match[1] != self.server.storage.bucket:
            return ("nothing", ""), query
        if match[3]:
            return ("object", unquote(match[3])), query
        return ("objects" if match[2] else "bucket", ""), query

    def _listing(self, query):
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        first, beyond = query.get("startOffset", ""), query.get("endOffset")
        items, prefixes = [], {}
        for name in sorted(self.server.storage.objects):
            if not name.startswith(prefix) or name < first or (beyond and name >= beyond):
                continue
            head, below, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if below:
                prefixes[prefix + head + delimiter] = None
            else:
                items.append(self._resource(name))
        return {"kind": "storage#objects", "items": items, "prefixes": list(prefixes)}

    def _resource(self, name):
        storage = self.server.storage
        with storage.lock:
            data, generation = storage.objects[name], storage.generations[name]
        md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
        described = {"kind": "storage#object", "name": name, "bucket": storage.bucket, "size": str(len(data)), "md5Hash": md5}
        return described | {"generation": str(generation)} | dict.fromkeys(("timeCreated", "updated"), "2026-01-01T00:00:00.000Z")

    def _json(self, value):
        self._send(200, json.dumps(value).encode())

    def _fail(self, status):
        self._send(status, b"")

    def _send(self, status, data, **headers):
        self.send_response(status)
        if status not in (204, 304):
            headers["Content-Length"] = len(data)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)
