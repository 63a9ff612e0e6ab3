# SPDX-License-Identifier: AGPL-3.0-or-later
"""A running gateway before a model server that does what it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.model_double.client import ModelDouble, running_double
from tests.model_double.writing import MODELS
from tests.ports import free_port
from tests.program import Program
from tests.programs import Service

UPSTREAM_KEY = "key-of-the-model-server-5e1f"
REFACT, QWEN, LLAMA = "Refact/1.6B", "Qwen/Qwen2.5-Coder-1.5B", "assistant"


class Gateway(Service):
    """The program with the surface of the gateway; its model server may go and come."""

    def __init__(self, program: Program, port: int, stack: ExitStack, double: ModelDouble) -> None:
        super().__init__(program, port, double)
        self._stack = stack

    def stop_model_server(self) -> None:
        """Nobody listens there any more."""
        self._stack.pop_all().close()

    def start_model_server(self) -> None:
        """At the same place as before."""
        self.double = self._stack.enter_context(running_double(self.double.port))

    def chat(self, body: Any, key: str | None = None, **headers: str) -> httpx.Response:
        """POST /api/refact/chat."""
        return self.post(key, body, "/api/refact/chat", **headers)

    def code(self, key: str | None = None, path: str = "/v1/code-completion", **changes: Any) -> httpx.Response:
        """What belongs at a cursor."""
        inputs = {
            "sources": {"hello.py": changes.pop("text", "def hello_world():\n    \n")},
            "cursor": {"file": "hello.py", "line": 1, "character": 4} | changes.pop("cursor", {}),
            "multiline": changes.pop("multiline", True),
        }
        parameters = {"temperature": 0.1, "max_new_tokens": 20} | changes.pop("parameters", {})
        return self.post(key, {"inputs": inputs, "parameters": parameters, **changes}, path)

    def events(self, answer: httpx.Response) -> list[Any]:
        """The events of a stream, which ends as it should."""
        told = self.data(answer)
        assert told[-1] == "[DONE]"
        return [json.loads(one) for one in told[:-1]]


@contextmanager
def running_gateway(
    storage: Path, database_url: str, *, environment: str, more: str = "", more_ports: str = ""
) -> Iterator[Gateway]:
    """The gateway with the double as server of models for code and for chat.

    `more` are lines of the configuration, `more_ports` such of its `listeners`.
    """
    port = free_port()
    with ExitStack() as stack:
        double = stack.enter_context(running_double())
        models = "".join(f"  {name}: {{provider: refact}}\n" for name in (REFACT, QWEN, *MODELS))
        models += f"  {LLAMA}: {{provider: llama_cpp, base_url: {double.root}, model: small, n_ctx: 8192}}\n"
        (storage / "config.yaml").write_text(
            f"embedding:\n  hashing:\nenvironment: {environment}\nmodels:\n{models}"
            f"roles: {{completion: [{REFACT}, {QWEN}, {', '.join(MODELS)}], chat: [{LLAMA}]}}\n"
            f"gateway: {{timeouts: {{first: 6}}}}\n{more}"
            f"listeners:\n  - port: {port}\n    surfaces: [gateway]\n{more_ports}",
            encoding="utf-8",
        )
        known = {"CCB_DB_URL": database_url, "REFACT_SERVER_URL": double.root, "REFACT_API_KEY": UPSTREAM_KEY}
        with Program(storage, known, forked=True) as program:
            gateway = Gateway(program, port, stack, double)
            yield gateway
            gateway.http.close()
