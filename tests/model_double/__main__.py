# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m tests.model_double --port 8080`."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress

from tests.model_double.server import serve

parser = argparse.ArgumentParser(description="a model server that does what it is told")
parser.add_argument("--port", type=int, default=0, help="0: a free one; it is printed")
with suppress(KeyboardInterrupt):
    asyncio.run(serve(parser.parse_args().port))
