# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m tests.nextcloud_double [port]`: a Nextcloud to try things with; see docs/nextcloud.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import uvicorn

from tests.nextcloud_double.server import State, build

PORT = 8085


def main(arguments: Sequence[str]) -> int:
    """Serve until interrupted."""
    uvicorn.run(
        build(State()),
        host="127.0.0.1",
        port=int(arguments[0]) if arguments else PORT,
        log_level="critical",
        access_log=False,
        timeout_keep_alive=600,  # a connection that is closed just when a test uses it again fails the test
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
