# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two kinds of tasks we answer, as AppAPI wants them described (contract taskprocessing 1 and 2).

Ids are those of all versions: what administrators have chosen refers to them.
"""

from __future__ import annotations

from typing import Any

from context_chat_backend.nextcloud.tasks import Tasks

CHAT = "context_chat:context_chat"
SEARCH = "context_chat:context_chat_search"
DEFAULT_LIMIT = 10
_NUMBER, _TEXT, _TEXTS = 0, 1, 11
_SECONDS = 30


def provider_id(kind: str) -> str:
    """The id of our provider of a kind of tasks."""
    return kind.replace(":", "-")


def _slot(name: str, description: str, shape: int) -> dict[str, Any]:
    return {"name": name, "description": description, "shape_type": shape}


_SCOPE = [
    _slot("scopeType", "What to ask: none, source or provider", _TEXT),
    _slot("scopeList", "The sources or providers to ask", _TEXTS),
    _slot("scopeListMeta", "How the scope is shown", _TEXT),
]
_KINDS: dict[str, dict[str, Any]] = {
    CHAT: {
        "id": CHAT,
        "name": "Context Chat",
        "description": "Answer a question from your documents, with the sources.",
        "input_shape": [_slot("prompt", "Ask a question about your documents", _TEXT), *_SCOPE],
        "output_shape": [
            _slot("output", "The answer", _TEXT),
            _slot("sources", "The sources of the answer", _TEXTS),
        ],
    },
    SEARCH: {
        "id": SEARCH,
        "name": "Context Chat search",
        "description": "Find the documents that answer a question.",
        "input_shape": [
            _slot("prompt", "Search in your documents", _TEXT),
            *_SCOPE,
            _slot("limit", "How many documents to find at most", _NUMBER),
        ],
        "output_shape": [_slot("sources", "The documents found", _TEXTS)],
    },
}


def _provider(kind: str) -> dict[str, Any]:
    return {
        "id": provider_id(kind),
        "name": "Context Chat Backend",
        "task_type": kind,
        "expected_runtime": _SECONDS,
        "optional_input_shape": [],
        "optional_output_shape": [],
        "input_shape_enum_values": {},
        "input_shape_defaults": {"limit": DEFAULT_LIMIT} if kind == SEARCH else {},
        "optional_input_shape_enum_values": {},
        "optional_input_shape_defaults": {},
        "output_shape_enum_values": {},
        "optional_output_shape_enum_values": {},
    }


async def register(tasks: Tasks) -> None:
    """Offer both kinds; may be repeated. Raises NextcloudUnavailable."""
    for kind, described in _KINDS.items():
        await tasks.register(_provider(kind), described)


async def unregister(tasks: Tasks) -> None:
    """Take both back. Raises NextcloudUnavailable."""
    for kind in _KINDS:
        await tasks.unregister(provider_id(kind))
