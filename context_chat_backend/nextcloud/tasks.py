# SPDX-License-Identifier: AGPL-3.0-or-later
"""Task processing as its provider sees it (contract taskprocessing 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from context_chat_backend.errors import NextcloudUnavailable
from context_chat_backend.nextcloud.client import Json, NextcloudClient, OcsAnswer

_REGISTRY = "/ocs/v1.php/apps/app_api/api/v1/ai_provider/task_processing"
_TASKS = "/ocs/v2.php/taskprocessing/tasks_provider"
_CALL_SECONDS = 10.0
_ENDED = ("STATUS_CANCELLED", "STATUS_FAILED", "STATUS_SUCCESSFUL")


@dataclass(frozen=True, slots=True)
class Task:
    """A task that was handed to us: nobody else gets it, until it is answered."""

    id: int
    kind: str
    user: str | None
    input: Mapping[str, Any]
    streams: bool = False
    """Whether the answer is wanted while it is written (Nextcloud 35)."""


class Tasks:
    """The tasks of one Nextcloud."""

    def __init__(self, client: NextcloudClient) -> None:
        self._client = client

    async def register(self, provider: Json, kind: Json) -> None:
        """Offer a provider and its type; may be repeated. Raises NextcloudUnavailable."""
        record = {"provider": provider, "customTaskType": kind}
        answer = await self._client.call("POST", _REGISTRY, json=record, seconds=_CALL_SECONDS)
        if not answer.ok:
            raise NextcloudUnavailable(f"Nextcloud does not take a provider ({answer.status})", status=answer.status)

    async def unregister(self, provider: str) -> None:
        """Take a provider back; one that is not registered is no error. Raises NextcloudUnavailable."""
        await self._client.call("DELETE", _REGISTRY, query={"name": provider}, seconds=_CALL_SECONDS)

    async def next(self, provider: str, kind: str) -> Task | None:
        """The oldest waiting task, which is ours from now on; None when there is none. Raises NextcloudUnavailable."""
        asked = {"providerIds": [provider], "taskTypeIds": [kind]}
        answer = await self._client.call("GET", f"{_TASKS}/next", json=asked)
        if not answer.ok:
            raise NextcloudUnavailable(f"Nextcloud gives no tasks ({answer.status})", status=answer.status)
        return None if answer.status == 204 else _task(answer)

    async def report_progress(self, task_id: int, progress: float) -> bool:
        """Tell how far a task is, from 0 to 1; False when nobody waits for it any more. Raises NextcloudUnavailable."""
        return _is_wanted(await self._client.call("POST", f"{_TASKS}/{task_id}/progress", json={"progress": progress}))

    async def report_result(self, task_id: int, result: Json) -> str:
        """Answer a task: `output`, or `errorMessage` and `userFacingErrorMessage`; its status then, '' when it is gone.

        May be repeated. Raises NextcloudUnavailable.
        """
        body = {"output": None, "errorMessage": None, "userFacingErrorMessage": None} | dict(result)
        answer = await self._client.call("POST", f"{_TASKS}/{task_id}/result", json=body)
        return _status(answer)

    async def stream_result(self, task_id: int, output: Json) -> bool:
        """Show what is written so far; False when that is of no use. Raises NextcloudUnavailable."""
        body = {"output": output}
        return _is_wanted(await self._client.call("POST", f"{_TASKS}/{task_id}/stream-result", json=body))


def _task(answer: OcsAnswer) -> Task:
    try:
        task = answer.data["task"]
        user, given = task.get("userId"), task.get("input")
        return Task(
            id=int(task["id"]),
            kind=str(task["type"]),
            user=user if isinstance(user, str) and user else None,
            input=given if isinstance(given, dict) else {},
            streams=task.get("preferStreaming") is True,
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise NextcloudUnavailable("the task cannot be read") from None


def _status(answer: OcsAnswer) -> str:
    try:
        return str(answer.data["task"]["status"]) if answer.ok else ""
    except (KeyError, TypeError):
        return ""


def _is_wanted(answer: OcsAnswer) -> bool:
    return answer.ok and _status(answer) not in _ENDED
