# SPDX-License-Identifier: AGPL-3.0-or-later
"""All tools there are. A new one is a declaration in a module of its own, and a line here."""

from __future__ import annotations

from context_chat_backend.answering.planner.compute_tool import COMPUTE
from context_chat_backend.answering.planner.document_tool import DOCUMENTS
from context_chat_backend.answering.planner.model_tool import MODELS
from context_chat_backend.answering.planner.package_tool import PACKAGES
from context_chat_backend.answering.planner.tools import Arguments, Found, Tool, Workplace
from context_chat_backend.domain import Principal, Scope

NOT_CONNECTED = "No local cluster is examined: this is a stated stub, so that plans start from nothing."


class NoArguments(Arguments):
    """Nothing is to be told."""


async def _check(_place: Workplace, _asker: Principal, _scope: Scope, _arguments: NoArguments) -> Found:
    return Found({"connected": False, "message": NOT_CONNECTED})


CLUSTER = Tool(
    "local/check",
    "Whether a cluster is connected; none ever is.",
    NoArguments,
    _check,
    lambda _found: NOT_CONNECTED,
    {},
)

TOOLS = {tool.name: tool for tool in (COMPUTE, PACKAGES, MODELS, DOCUMENTS, CLUSTER)}
"""By their names."""
