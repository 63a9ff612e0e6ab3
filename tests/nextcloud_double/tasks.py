# SPDX-License-Identifier: AGPL-3.0-or-later
"""Task processing (contract taskprocessing): types and providers of ExApps, tasks, and one writer of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TEXT = "core:text2text"
_FINAL = ("STATUS_SUCCESSFUL", "STATUS_FAILED", "STATUS_CANCELLED")


@dataclass
class Refused(Exception):
    """A controller's answer that is no success."""

    status: int
    data: Any = field(default_factory=list)


class Tasks:
    """All tasks of this Nextcloud."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last_id = 7000
        self.registered: dict[str, dict[str, Any]] = {}
        self.visible = True
        """Providers of a disabled ExApp are not seen."""
        self.preferred: dict[str, str] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self._polls: dict[int, int] = {}
        self.settle()

    def settle(self) -> None:
        """Cancel what is open, and write texts at once."""
        self.writes: str | None = "According to [1], that is so. [1]"
        """What the provider of text answers, `{input}` standing for what it was asked; None: there is none."""
        self.polls_until_written = 1
        self.final_status = "STATUS_SUCCESSFUL"
        self.streams = False
        """Whether those who ask want to see answers while they are written (Nextcloud 35)."""
        for task_id in self.tasks:
            self.cancel(task_id)

    def register(self, record: dict[str, Any]) -> None:
        """POST ai_provider/task_processing."""
        provider = record.get("provider")
        wanted = {
            "id": str, "name": str, "task_type": str, "expected_runtime": int, "optional_input_shape": list,
            "optional_output_shape": list, "input_shape_enum_values": dict, "input_shape_defaults": dict,
            "optional_input_shape_enum_values": dict, "optional_input_shape_defaults": dict,
            "output_shape_enum_values": dict, "optional_output_shape_enum_values": dict,
        }  # fmt: skip
        if not isinstance(provider, dict) or any(not isinstance(provider.get(k), t) for k, t in wanted.items()):
            raise Refused(400)
        custom = record.get("customTaskType")
        if custom is not None:
            shapes = [*custom.get("input_shape", [None]), *custom.get("output_shape", [None])]
            if custom.get("id") != provider["task_type"] or any(
                not isinstance(shape, dict) or {"name", "description", "shape_type"} - set(shape) for shape in shapes
            ):
                raise Refused(400)
        self.registered[provider["id"]] = record

    def unregister(self, name: str) -> None:
        """DELETE ai_provider/task_processing."""
        if self.registered.pop(name, None) is None:
            raise Refused(404)

    def provider_of(self, kind: str) -> str | None:
        """The preferred provider of a type: the admin's choice, else the first."""
        if not self.visible:
            return None
        having = [name for name, record in self.registered.items() if record["provider"]["task_type"] == kind]
        return self.preferred.get(kind, having[0]) if having else None

    def schedule(self, kind: str, input_: dict[str, Any], user: str | None, app: str) -> dict[str, Any]:
        """A new task. Raises Refused (412) when nobody provides the type."""
        if (kind == TEXT and self.writes is None) or (kind != TEXT and self.provider_of(kind) is None):
            raise Refused(412, {"message": "no provider (localised text)"})
        if kind == TEXT and not isinstance(input_.get("input"), str):
            raise Refused(400, {"message": "input slot missing"})
        if kind != TEXT:
            input_ = self.registered[str(self.provider_of(kind))]["provider"]["input_shape_defaults"] | input_
        self._last_id += 1
        now = int(self._now())
        task = {
            "id": self._last_id, "type": kind, "lastUpdated": now, "status": "STATUS_SCHEDULED", "userId": user,
            "appId": app, "input": input_, "output": None, "customId": "", "completionExpectedAt": now + 30,
            "progress": None, "scheduledAt": now, "startedAt": None, "endedAt": None,
        }  # fmt: skip
        if self.streams:
            task["preferStreaming"] = True
        self.tasks[self._last_id] = task
        return task

    def is_running(self, kind: str) -> bool:
        """Whether a task of the type is in work; then no trigger is sent."""
        return any(task["type"] == kind and task["status"] == "STATUS_RUNNING" for task in self.tasks.values())

    def next(self, providers: list[str], kinds: list[str]) -> tuple[dict[str, Any], str] | None:
        """Lock and give the oldest task of a type whose preferred provider is named."""
        for task in self.tasks.values():
            provider = self.provider_of(task["type"])
            if task["status"] == "STATUS_SCHEDULED" and task["type"] in kinds and provider in providers:
                task |= {"status": "STATUS_RUNNING", "startedAt": int(self._now()), "lastUpdated": int(self._now())}
                return task, str(provider)
        return None

    def task(self, task_id: int) -> dict[str, Any]:
        """One task. Raises Refused (404)."""
        if task_id not in self.tasks:
            raise Refused(404, {"message": "not found"})
        return self.tasks[task_id]

    def progress(self, task_id: int, progress: float) -> dict[str, Any]:
        """Note how far a task is; nothing changes once it has ended."""
        task = self.task(task_id)
        if not 0 <= progress <= 1:
            raise Refused(500)
        if task["status"] not in _FINAL:
            task |= {"progress": progress, "lastUpdated": int(self._now())}
        return task

    def result(self, task_id: int, output: Any, error: str | None, shown: str | None) -> dict[str, Any]:
        """End a task; a cancelled one stays cancelled, and output of the wrong shape makes it fail."""
        task = self.task(task_id)
        if task["status"] == "STATUS_CANCELLED":
            return task
        ended = {"endedAt": int(self._now()), "lastUpdated": int(self._now())}
        if error is not None:
            return _update(task, ended | {"status": "STATUS_FAILED", "errorMessage": error[:1000], "shown": shown})
        shapes = self._output_shapes(task["type"])
        valid = isinstance(output, dict) and all(_fits(output.get(name), kind) for name, kind in shapes.items())
        if not valid:
            return _update(task, ended | {"status": "STATUS_FAILED", "errorMessage": "the output is not valid"})
        taken = {name: output[name] for name in shapes}
        return _update(task, ended | {"status": "STATUS_SUCCESSFUL", "output": taken, "progress": 1})

    def cancel(self, task_id: int) -> dict[str, Any]:
        """A user, or whoever scheduled it, gives up."""
        task = self.task(task_id)
        if task["status"] not in _FINAL:
            task |= {"status": "STATUS_CANCELLED", "endedAt": int(self._now())}
        return task

    def poll(self, task_id: int) -> dict[str, Any]:
        """A task as its user sees it; texts are written after so many looks."""
        task = self.task(task_id)
        if task["type"] == TEXT and task["status"] not in _FINAL:
            self._polls[task_id] = self._polls.get(task_id, 0) + 1
            if self._polls[task_id] < self.polls_until_written:
                task["status"] = "STATUS_RUNNING"
                if self.streams and self.writes:
                    so_far = len(self.writes) * self._polls[task_id] // self.polls_until_written
                    task["output"] = {"output": self.writes[:so_far]}
            else:
                written = None if self.writes is None else self.writes.replace("{input}", task["input"]["input"])
                output = {"output": written, "finished": True, "parts": [1, 2]}
                task |= {"status": self.final_status, "output": output if "SUCC" in self.final_status else None}
        return task

    def _output_shapes(self, kind: str) -> dict[str, int]:
        for record in self.registered.values():
            custom = record.get("customTaskType") or {}
            if custom.get("id") == kind:
                return {shape["name"]: shape["shape_type"] for shape in custom["output_shape"]}
        return {}


def _update(task: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    task |= changes
    return task


def _fits(value: Any, shape: int) -> bool:
    if shape == 11:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return isinstance(value, str) if shape == 1 else value is not None
