# SPDX-License-Identifier: AGPL-3.0-or-later
"""The double as a process of its own, and the hands that move it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any

import httpx

from tests.commands import Forked
from tests.ports import free_port
from tests.waiting import PATIENCE, until

CHAT = "context_chat:context_chat"
SEARCH = "context_chat:context_chat_search"


class Nextcloud:
    """Starts on a free port, ends with the test."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._client = httpx.Client(base_url=f"{self.url}/_double", timeout=120)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - it is read when the double has ended
        self._process: Forked | None = None

    def __enter__(self) -> Nextcloud:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it listens."""
        known = {"PATH": os.environ["PATH"]}
        self._process = Forked([str(self.port)], known, self._output, self._output, "nextcloud")
        until(self._listens, said=lambda: "the double did not start")

    def _listens(self) -> bool:
        with suppress(httpx.TransportError):
            return self._client.get("/app").is_success
        return False

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._output.seek(0)
        print(self._output.read().decode(errors="replace"), end="")  # pytest shows it with what failed

    def do(self, name: str, **arguments: Any) -> Any:
        """Something people do: a method of world.World."""
        return self._post(f"/world/{name}", arguments)

    def register(self, url: str, secret: str, version: str = "5.4.0") -> dict[str, Any]:
        """`occ app_api:app:register context_chat_backend ... --wait-finish`."""
        app = {"id": "context_chat_backend", "version": version, "secret": secret, "url": url}
        answer: dict[str, Any] = self._post("/register", app)
        return answer

    def order(self, what: str) -> bool:
        """'enable', 'disable' or 'unregister'; whether it went well."""
        return bool(self._post(f"/{what}", {}))

    def change_app(self, **changes: Any) -> None:
        """Another secret or version in AppAPI's database."""
        self._post("/app", changes)

    def companion(self, method: str, path: str) -> Any:
        """A call of the companion app to the ExApp."""
        return self._post(f"/companion/{method}", {"path": path})

    def fault(self, method: str, path: str, kind: str, times: int = 1, value: float = 0) -> None:
        """Let something go wrong (faults.Fault)."""
        self._post("/faults", [{"method": method, "path": path, "kind": kind, "times": times, "value": value}])

    def forget(self) -> None:
        """Begin anew between two tests: no faults, no journal, tasks as at the beginning; files and users stay."""
        self._post("/forget", {})

    def faults_left(self) -> list[dict[str, Any]]:
        """Those that have not happened yet."""
        left: list[dict[str, Any]] = self.get("/faults")
        return left

    def set_tasks(self, **changes: Any) -> None:
        """Attributes of tasks.Tasks: `writes`, `polls_until_written`, `preferred`, ..."""
        self._post("/tasks", changes)

    def schedule(self, kind: str, user: str, prompt: str, *, trigger: bool = True, **input_: Any) -> int:
        """A user asks in the Assistant; the id of the task."""
        asked = {"prompt": prompt, "scopeType": "none", "scopeList": [], "scopeListMeta": ""} | input_
        task = self._post("/schedule", {"type": kind, "user": user, "input": asked, "trigger": trigger})
        assert "id" in task, task
        return int(task["id"])

    def task(self, task_id: int) -> dict[str, Any]:
        """A task as it stands."""
        task: dict[str, Any] = self.get(f"/task/{task_id}")
        return task

    def ended(self, task_id: int, seconds: float = PATIENCE) -> dict[str, Any]:
        """The task once it has ended."""
        self.wait(lambda: self.task(task_id)["endedAt"] is not None, seconds)
        return self.task(task_id)

    def cancel(self, task_id: int) -> None:
        """The user gives up."""
        self._post(f"/cancel/{task_id}", {})

    def calls(self, method: str = "", path: str = "") -> list[dict[str, Any]]:
        """The journal: calls of that method whose path holds `path`."""
        journal = self.get("/journal")
        return [call for call in journal if method in call["method"] and path in call["path"]]

    def queues_are_empty(self) -> bool:
        """Whether everything was acknowledged."""
        return not any(self.do("queue_lengths").values())

    def wait(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Until the condition holds."""
        until(condition, seconds)

    def get(self, path: str) -> Any:
        """What the double says of itself."""
        return self._client.get(path).raise_for_status().json()

    def _post(self, path: str, body: object) -> Any:
        return self._client.post(path, json=body).raise_for_status().json()
