# SPDX-License-Identifier: AGPL-3.0-or-later
"""The wire does what it is told, or the kill tests would prove nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.trust.relay import Relay, Wire


class Echo:
    """Answers every line with itself, and keeps what it heard."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            try:
                for line in lines:
                    self.heard.append(line)
                    connection.sendall(line)
            except OSError:
                return


@pytest.fixture
def echo() -> Iterator[Echo]:
    running = Echo()
    yield running
    running.listener.close()


@pytest.fixture
def relay(echo: Echo) -> Iterator[Relay]:
    with Relay(("127.0.0.1", echo.listener.getsockname()[1])) as running:
        yield running


def said(connection: socket.socket, line: bytes) -> bytes:
    """What comes back; b"" when the connection has ended."""
    try:
        connection.sendall(line)
        return connection.recv(100)
    except ConnectionError:
        return b""


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=1)


def test_a_whole_wire_passes_both_ways_and_a_cut_one_ends_old_and_new_connections(relay: Relay) -> None:
    with connect(relay) as old:
        assert said(old, b"one\n") == b"one\n"
        relay.be(Wire.CUT)
        assert said(old, b"two\n") == b""
    with connect(relay) as new:
        assert said(new, b"three\n") == b""
    relay.be(Wire.WHOLE)
    with connect(relay) as mended:
        assert said(mended, b"four\n") == b"four\n"


def test_answers_are_lost_after_what_was_asked_has_arrived(relay: Relay, echo: Echo) -> None:
    with connect(relay) as connection:
        assert said(connection, b"one\n") == b"one\n"
        relay.be(Wire.LOSES_ANSWERS)
        assert said(connection, b"two\n") == b""
    assert echo.heard == [b"one\n", b"two\n"]


def test_a_hole_lets_connections_hang_until_it_ends(relay: Relay, echo: Echo) -> None:
    with connect(relay) as connection:
        assert said(connection, b"one\n") == b"one\n"
        relay.be(Wire.HOLE)
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            said(connection, b"two\n")
        relay.be(Wire.WHOLE)
        connection.settimeout(1)
        assert said(connection, b"three\n") == b""
    assert echo.heard == [b"one\n"]
