# SPDX-License-Identifier: AGPL-3.0-or-later
"""Exit code 0 when the program in this container answers its heartbeat, on its port or behind HaRP on its socket."""

from __future__ import annotations

import http.client
import os
import socket
import sys


def main() -> int:
    """Ask once."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("APP_PORT") or 10034), timeout=4)
    if os.environ.get("HP_SHARED_KEY"):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(4)
        connection.sock.connect(os.environ.get("HP_EXAPP_SOCK") or "/tmp/exapp.sock")  # noqa: S108
    connection.request("GET", "/heartbeat")
    return 0 if connection.getresponse().status == 200 else 1


if __name__ == "__main__":
    try:
        code = main()
    except OSError:
        code = 1
    sys.exit(code)
