"""Headless Chromium, driven through its DevTools protocol over a pipe, to use a page as a visitor would."""

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 60  # s


class Chromium:
    """One page in its own profile. `events` lists the (method, params) of every event that Chromium has reported."""

    def __init__(self, profile: Path):
        commands, answers = os.pipe(), os.pipe()
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--remote-debugging-pipe"),
            *(f"--user-data-dir={profile}", "about:blank"),
        ]
        pipes = f'exec "$@" 3<&{commands[0]} 4>&{answers[1]}'  # Chromium reads commands from 3 and answers on 4
        self._process = subprocess.Popen(
            ["bash", "-c", pipes, "bash", program() or NAMES[0], *options],
            pass_fds=(commands[0], answers[1]),
            stderr=subprocess.DEVNULL,
        )
        for end in (commands[0], answers[1]):
            os.close(end)
        self._commands, self._answers = commands[1], answers[0]
        self._buffer, self._number = b"", 0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._session: str | None = None
        page = next(target for target in self.call("Target.getTargets")["targetInfos"] if target["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()
        for end in (self._commands, self._answers):
            os.close(end)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result. Raises RuntimeError with Chromium's reason if it fails."""
        self._number += 1
        number = self._number
        session = {"sessionId": self._session} if self._session and not method.startswith("Browser.") else {}
        os.write(self._commands, json.dumps({"id": number, "method": method, "params": params, **session}).encode() + b"\0")
        while (message := self._next()).get("id") != number:
            self.events.append((message["method"], message["params"]))
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def run(self, script: str) -> Any:
        """Evaluate a JavaScript expression, await it if it is a promise, and return its value."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", str(answer)))
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Wait until a JavaScript expression is true, and return its value."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(condition)):
            assert time.monotonic() < end, f"{condition} was not true within {PATIENCE} s"
            time.sleep(0.05)
        return value

    def heard(self, method: str, **params: Any) -> None:
        """Wait for an event with these parameters, unless it has come already."""
        while not any(name == method and params.items() <= event.items() for name, event in self.events):
            message = self._next()
            self.events.append((message["method"], message["params"]))

    def choose(self, selector: str, files: list[Path]) -> None:
        """Put files into the file picker that `selector` matches."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=list(map(str, files)))

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._answers], [], [], PATIENCE)[0], f"Chromium said nothing for {PATIENCE} s"
            read = os.read(self._answers, 1 << 20)
            assert read, "Chromium has exited"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


def program() -> str | None:
    """The path of Chromium on this machine, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)
