# SPDX-License-Identifier: AGPL-3.0-or-later
"""Starts a double in a process of its own, and tells it what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]


class ModelDouble:
    """A running double."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.root = f"http://127.0.0.1:{port}"
        """What Ollama and Elasticsearch are called by."""
        self.url = f"{self.root}/v1"
        self._client = httpx.Client(base_url=self.root, timeout=60)

    def script(self, *steps: dict[str, Any]) -> None:
        """What it does with the next generations; earlier requests are forgotten."""
        self._client.post("/double/script", json=steps).raise_for_status()

    def script_models(self, steps: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """As `script`, for each model by its name."""
        self._client.post("/double/script", json=steps).raise_for_status()

    def be(self, *, n_ctx: int | None = None, counts: bool = True, **more: Any) -> None:
        """Whether it tells its context, and counts tokens; `dimension` of vectors, `authorization` it wants."""
        self._client.post("/double/server", json={"n_ctx": n_ctx, "counts": counts, **more}).raise_for_status()

    def index(self, *steps: dict[str, Any]) -> None:
        """What becomes of the next bulks for Elasticsearch; what it holds is forgotten."""
        self._client.post("/double/elasticsearch", json=steps).raise_for_status()

    @property
    def indexed(self) -> dict[str, Any]:
        """What Elasticsearch holds: `indexes`, `documents`, and the sizes of `bulks`."""
        told: dict[str, Any] = self._client.get("/double/elasticsearch").json()
        return told

    @property
    def cancelled(self) -> int:
        """How many callers left before the end."""
        return int(self._client.get("/stub/cancelled").json()["cancelled"])

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What it was asked to write: path, headers, body, and whether the client left before the end."""
        told: list[dict[str, Any]] = self._client.get("/double/requests").json()
        return told

    def wait_until_left(self) -> None:
        """Until the client of the last request has hung up. Raises AssertionError where he does not."""
        until(lambda: self.requests and self.requests[-1]["left"], said=lambda: "the client stays")

    def close(self) -> None:
        """Close our connections."""
        self._client.close()


@contextmanager
def running_double(port: int = 0) -> Iterator[ModelDouble]:
    """A double at `port`, or on a free one, until the end of the block."""
    command = [sys.executable, "-m", "tests.model_double", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            double = ModelDouble(int(process.stdout.readline()))
            yield double
            double.close()
        finally:
            process.terminate()
