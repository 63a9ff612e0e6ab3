# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ports for what a test starts."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

_LOWEST = 10240
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_chosen = random.SystemRandom()


def free_port() -> int:
    """A port at which nobody listens, below those the system gives to connections.

    One of those, as port 0 gets it, may be the near end of somebody's connection before the program listens there.
    """
    first = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    while True:
        port = _chosen.randrange(_LOWEST, max(first, 2 * _LOWEST))
        with socket.socket() as free, suppress(OSError):
            free.bind(("", port))
            return port
