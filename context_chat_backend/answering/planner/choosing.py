# SPDX-License-Identifier: AGPL-3.0-or-later
"""A language model may ask for more than the fixed steps have found: a few tool calls, in a bounded number of rounds.

It chooses what is looked for, the server fills in what is found.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from context_chat_backend.answering.planner.architect import Architect
from context_chat_backend.answering.planner.document_tool import DOCUMENTS
from context_chat_backend.answering.planner.material import Material
from context_chat_backend.answering.planner.model_help import ModelHelp
from context_chat_backend.answering.planner.package_tool import PACKAGES

_CHOSEN_FROM = {tool.name: tool for tool in (PACKAGES, DOCUMENTS)}
_ROUNDS = 2
_CALLS = 3
_INSTRUCTIONS = (
    "You complete a deployment plan. Look at the request and at what the plan has, and name tool calls for what is "
    "missing; an empty list when nothing is. The tools: "
    + " ".join(
        f"{tool.name}: {tool.about} Arguments: {json.dumps(tool.arguments.model_json_schema()['properties'])}."
        for tool in _CHOSEN_FROM.values()
    )
)


class Call(BaseModel):
    """A tool, and what it is given."""

    model_config = ConfigDict(extra="ignore")

    tool: str
    arguments: dict[str, Any] = Field(default_factory=dict)


class Calls(BaseModel):
    """What a model wants to know."""

    model_config = ConfigDict(extra="ignore")

    calls: list[Call] = Field(default_factory=list)


async def complete(help_: ModelHelp, architect: Architect, material: Material, said: str) -> None:
    """Use the tools the model names, and put what they find into the plan."""
    done: set[tuple[str, str]] = set()
    for _ in range(_ROUNDS):
        data = {
            "request": said[-4000:],
            "understood": material.workload.as_json(),
            "packages": [entry.package.name for entry in material.stack],
            "documents": [passage.title for passage in material.documents],
        }
        wanted = await help_.filled(_INSTRUCTIONS, json.dumps(data, ensure_ascii=False), Calls)
        named = [] if wanted is None else [_query(call) for call in wanted.calls[:_CALLS]]
        new = [call for call in named if call is not None and call not in done]
        if not new:
            return
        done |= set(new)
        packages = [query for tool, query in new if tool == PACKAGES.name]
        if packages:
            await architect.add_packages(material, packages)
        for tool, query in new:
            if tool == DOCUMENTS.name:
                material.warnings += await architect.add_documents(material, query)


def _query(call: Call) -> tuple[str, str] | None:
    """Tool and query of a call that may be made."""
    tool = _CHOSEN_FROM.get(call.tool)
    if tool is None:
        return None
    try:
        arguments: Any = tool.arguments.model_validate(call.arguments)
    except ValidationError:
        return None
    return tool.name, str(arguments.query)
