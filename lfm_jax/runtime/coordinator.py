"""Waiting for the process that brings the others together, in words and with an end.

Left to itself, jax says nothing for as long as it waits, and then aborts the process with a C++ stack.
"""

import errno
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lfm_jax.errors import ClusterError
from lfm_jax.runtime.progress import say

SECONDS_TO_ANSWER = 5.0
SECONDS_BETWEEN_TRIES = 1.0
SECONDS_BETWEEN_LINES = 15.0
SETTINGS_FRAME = 4  # type of the frame with which a gRPC server greets, at byte 3
GIVEN_UP = 2


def await_coordinator(address: str, *, seconds: float) -> None:
    """Return as soon as process 0 answers at HOST:PORT. Raises ClusterError with the reason if it does not within `seconds`."""
    end, next_line = time.monotonic() + seconds, time.monotonic() + SECONDS_BETWEEN_LINES
    while reason := _why_no_answer(address, timeout=min(SECONDS_TO_ANSWER, max(end - time.monotonic(), 0.1))):
        if time.monotonic() >= end:
            raise ClusterError(
                f"process 0 did not answer at {address} within {seconds:g} s ({reason}): start process 0 there, check the address "
                "and the firewall, or wait longer with --join_seconds"
            )
        if time.monotonic() >= next_line:
            next_line += SECONDS_BETWEEN_LINES
            say(f"waiting for process 0 at {address} ({reason}), for at most {end - time.monotonic():.0f} s more")
        time.sleep(min(SECONDS_BETWEEN_TRIES, max(end - time.monotonic(), 0)))


def require_free_port(address: str) -> None:
    """Raises ClusterError if something on this machine listens at the port of HOST:PORT: gRPC would share it silently."""
    port = _split(address)[1]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ClusterError(f"{address}: port {port} is in use on this machine, choose another for all processes") from None


@contextmanager
def ended_after(seconds: float, *, line: str) -> Iterator[None]:
    """End the whole process with this line, if what happens inside takes longer: it is C++ that no exception can reach."""

    def end() -> None:
        print(line, file=sys.stderr, flush=True)
        os._exit(GIVEN_UP)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _why_no_answer(address: str, *, timeout: float) -> str:
    """Why HOST:PORT is not a coordinator now, "" if it is one: gRPC servers greet whoever connects."""
    try:
        with socket.create_connection(_split(address), timeout) as connection:
            connection.settimeout(timeout)
            greeting = connection.recv(9)
    except TimeoutError:
        return "it does not answer"
    except OSError as error:
        return error.strerror or str(error)
    return "" if greeting[3:4] == bytes([SETTINGS_FRAME]) else "something else listens there"


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
