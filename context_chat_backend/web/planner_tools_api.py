# SPDX-License-Identifier: AGPL-3.0-or-later
"""Each tool of the planner by itself: POST /api/v1/tools/<tool>, made from its declaration."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter

from context_chat_backend.answering.planner.toolbox import TOOLS
from context_chat_backend.answering.planner.tools import Tool
from context_chat_backend.web.planner_route import PlannerToolRoute, ToolsCaller
from context_chat_backend.web.program_route import Ready
from context_chat_backend.web.scopes import scope_of

router = APIRouter(route_class=PlannerToolRoute)


def _endpoint(tool: Tool) -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    async def used(backend: Ready, caller: ToolsCaller, body: Any) -> dict[str, Any]:
        scope = await scope_of(backend, caller, None)
        return (await tool.run(backend.planner.place, caller.asker, scope, body)).body

    async def used_alone(backend: Ready, caller: ToolsCaller) -> dict[str, Any]:
        scope = await scope_of(backend, caller, None)
        return (await tool.run(backend.planner.place, caller.asker, scope, tool.arguments())).body

    used.__annotations__["body"] = tool.arguments
    endpoint = used if tool.arguments.model_fields else used_alone
    endpoint.__doc__ = tool.about
    endpoint.__name__ = tool.name.replace("/", "_")
    return endpoint


for _tool in TOOLS.values():
    router.add_api_route(f"/api/v1/tools/{_tool.name}", _endpoint(_tool), methods=["POST"])
