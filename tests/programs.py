# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real program with a surface for programs, a model server that does what it is told, and keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai

from tests.model_double.client import ModelDouble, running_double
from tests.ports import free_port
from tests.program import Program
from tests.streams import sent_in
from tests.waiting import PATIENCE, until


class Service:
    """A running program that other programs ask, and keys for it."""

    def __init__(self, program: Program, port: int, double: ModelDouble) -> None:
        self.program = program
        self.double = double
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def run(self, *arguments: str) -> Any:
        """`context-chat` beside the running program."""
        done = self.program.run_command(*arguments, "--json")
        return json.loads(done)

    def key(self, *arguments: str) -> str:
        return str(self.run("keys", "add", "tests", *arguments)["api_key"])

    def client(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def wait(self, is_so: Callable[[], bool], seconds: float = PATIENCE) -> None:
        until(is_so, seconds, said=lambda: self.program.output()[-2000:])

    def post(self, key: str | None, body: Any, path: str = "/v1/chat/completions", **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {key}"} if key else {}
        content = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self.http.post(path, content=content, headers={"Content-Type": "application/json"} | sent | headers)

    def data(self, answer: httpx.Response) -> list[str]:
        """What the events of a stream hold."""
        return sent_in(answer.text)

    def logs(self) -> str:
        """All that was printed and logged so far."""
        files = [path for path in (self.program.storage / "logs").rglob("*") if path.is_file()]
        return self.program.output() + "".join(path.read_text(errors="replace") for path in files)

    def log_line(self, answer: httpx.Response) -> dict[str, Any]:
        """What was logged of a request, which comes a moment after its answer."""
        request_id = answer.headers["x-request-id"]
        until(lambda: request_id in self.logs())
        line: dict[str, Any] = json.loads(next(line for line in self.logs().split("\n") if request_id in line))
        return line


@contextmanager
def serving(
    storage: Path,
    database_url: str,
    told: Mapping[str, tuple[str, str]],
    *,
    options: str = "",
    more: str = "",
    **double_is: Any,
) -> Iterator[Service]:
    """The program with collections, each of a reader and one text, and the double as its language model.

    `options` are lines below `llm.openai`, `more` further lines of the configuration.
    """
    port = free_port()
    with running_double() as double:
        double.be(**double_is)
        (storage / "config.yaml").write_text(
            f"embedding:\n  hashing:\nllm:\n  openai:\n    base_url: {double.url}\n    model: double\n{options}"
            f"{more}listeners:\n  - port: {port}\n    surfaces: [openai]\n",
            encoding="utf-8",
        )
        with Program(storage, {"CCB_DB_URL": database_url}, forked=True) as program:
            service = Service(program, port, double)
            for collection, (reader, text) in told.items():
                file = storage / f"{collection}.txt"
                file.write_text(text, encoding="utf-8")
                service.run("index", str(file), "--collection", collection, "--reader", reader)
            yield service
            service.http.close()
