# SPDX-License-Identifier: AGPL-3.0-or-later
"""One example of each route, for the page that describes them: what is sent, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from context_chat_backend.answering.planner.toolbox import NOT_CONNECTED, TOOLS
from context_chat_backend.web.example import Example
from context_chat_backend.web.gateway_examples import GATEWAY

_SOURCE = "files__default: 42"
_DONE = {"message": "access updated"}
_DELETED = {"message": "sources deleted"}
_CHAT_ID = "chatcmpl-8f0c5b1d9e7a4c2b6d3f1a08"
_CONVERSATION_ID = "conv_0f8fad5bd9cb469fa16570867728950e"
_CONVERSATION = {
    "id": _CONVERSATION_ID,
    "object": "conversation",
    "title": "The lift",
    "messages": 2,
    "created_at": 1732000000,
    "updated_at": 1732000060,
}
_WHOLE_CONVERSATION = {
    **_CONVERSATION,
    "messages": [
        {"role": "user", "content": "When is the lift serviced?", "hidden": False, "created_at": 1732000000},
        {"role": "assistant", "content": "On Friday [1].", "hidden": False, "created_at": 1732000060},
    ],
}
_DOCUMENT = {
    "id": "collection__town: lift",
    "object": "document",
    "title": "lift.txt",
    "status": "waiting",
    "reason": None,
}


def _completion(model: str, source: Mapping[str, Any], text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": "On Friday [1]."}
    cited = {**source, "start": 10, "end": 13, "text": text, "matched": False}
    return {
        "id": _CHAT_ID,
        "object": "chat.completion",
        "created": 1732000000,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 310, "completion_tokens": 6, "total_tokens": 316},
        "context_chat": {
            "sources": [dict(source)],
            "citations": [cited],
            "model": "local-gguf",
            "unavailable": [],
            "blocked": False,
            "dropped": 0,
            "estimated": False,
        },
    }


_FOUND = {"id": "collection__town: lift", "title": "lift.txt", "score": 0.81, "origin": "retrieved"}
_GIVEN = {"id": "s1", "title": "Notices", "score": None, "origin": "request"}
_TEXT = "The lift is serviced on Friday."
_ASKED = [{"role": "user", "content": "When is the lift serviced?"}]

_KEY = {
    "id": "6f6c1c1e-4f0e-4f9c-9b0f-2f6c8a7d1e55",
    "client_name": "Town site",
    "collection": "town",
    "notes": "",
    "created_at": 1732000000.5,
    "active": True,
    "scopes": ["chat"],
    "expires_at": None,
}
_NEW_KEY = {"api_key": "api_" + "x" * 32, **_KEY}
_LISTED_KEY = {
    **_KEY,
    "_id": _KEY["id"],
    "api_key": "api_Ab***",
    "collection_name": "town",
    "last_used_at": None,
}
_NEW_KEY_WANTED = {"collection_name": "town", "client_name": "Town site"}
_COLLECTION = {
    "name": "town",
    "title": "Town of Brambleford",
    "visibility": "private",
    "created_at": 1732000000.5,
    "sources": 60,
}
_OF_CHAT = {"id": "collection__town: qa:1f0c", "title": "Opening hours", "confidence": 0.93}
_PLAN_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
_PLAN_CONVERSATION = {
    "conversation_id": _PLAN_ID,
    "title": "Llama 70B",
    "created_at": "2025-11-01T12:00:00+00:00",
    "updated_at": "2025-11-01T12:01:00+00:00",
}
_ASKED_BACK = {
    "conversation_id": _PLAN_ID,
    "response": "One question before I can plan: …",
    "response_type": "clarification",
    "questions": ["Do you need a GPU? …"],
    "deployment_plan": None,
    "workload_spec": {"task_type": "inference", "domain": "llm", "gpu_needed": None},
    "message_id": _PLAN_ID,
}

EXAMPLES: Mapping[tuple[str, str], Example] = {
    ("GET", "/heartbeat"): Example({"status": "ok"}),
    ("GET", "/ready"): Example({"ready": True}),
    ("GET", "/"): Example("Context Chat Backend"),
    ("POST", "/init"): Example({}),
    ("GET", "/enabled"): Example({"enabled": True}),
    ("PUT", "/enabled"): Example({"error": ""}),
    ("POST", "/trigger"): Example({}),
    ("GET", "/downloadLogs"): Example("(a ZIP archive)", answered_as="application/zip"),
    ("GET", "/status"): Example(
        {
            "states": {"indexed": 120, "waiting": 3},
            "providers": {"files__default": {"indexed": 120, "waiting": 3}},
            "failing": {},
            "rejected": {"unsupported format": 1},
            "sources_per_second": 4.2,
            "seconds_left": 0.7,
            "slowest": [],
        }
    ),
    ("GET", "/metrics"): Example("# TYPE context_chat_sources gauge\n…", answered_as="text/plain"),
    ("PUT", "/loadSources"): Example(
        {"loaded_sources": [_SOURCE], "sources_to_retry": []},
        {"sources": "(a part for each source; its file name is the source id)"},
        "multipart/form-data",
    ),
    ("POST", "/countIndexedDocuments"): Example({"files__default": 120, "mail__messages": 7}),
    ("POST", "/deleteSources"): Example(_DELETED, {"sourceIds": [_SOURCE]}),
    ("POST", "/deleteProvider"): Example(
        {"message": "sources of the provider deleted"}, {"providerKey": "mail__messages"}
    ),
    ("POST", "/deleteSourcesByProviderForAllUsers"): Example(
        {"message": "sources of the provider deleted"}, {"providerKey": "mail__messages"}
    ),
    ("POST", "/deleteSourcesByProvider"): Example(
        {"message": "sources of the provider deleted for the user"},
        {"userId": "alice", "providerKey": "mail__messages"},
    ),
    ("POST", "/deleteUser"): Example({"message": "user deleted"}, {"userId": "alice"}),
    ("POST", "/updateAccess"): Example(_DONE, {"op": "allow", "userIds": ["alice"], "sourceId": _SOURCE}),
    ("POST", "/updateAccessProvider"): Example(
        _DONE, {"op": "deny", "userIds": ["alice"], "providerId": "mail__messages"}
    ),
    ("POST", "/updateAccessDeclarative"): Example(_DONE, {"userIds": ["alice", "bob"], "sourceId": _SOURCE}),
    ("POST", "/query"): Example(
        {"output": "On Friday [1].", "sources": [_SOURCE]},
        {"query": "When is the lift serviced?", "userId": "alice", "ctxLimit": 20},
    ),
    ("POST", "/docSearch"): Example(
        [{"source_id": _SOURCE, "title": "files/lift.txt"}], {"query": "lift", "userId": "alice"}
    ),
    ("GET", "/health"): Example({"status": "ok"}),
    ("POST", "/v1/chat/completions"): Example(
        _completion("local-gguf", _FOUND, _TEXT),
        {"model": "local-gguf", "messages": _ASKED, "retrieval": {"collections": ["town"], "top_k": 4}},
    ),
    ("POST", "/v1/chatqna"): Example(
        _completion("chatqna", _GIVEN, _TEXT),
        {
            "messages": _ASKED,
            "context": [{"text": _TEXT, "title": "Notices", "source": "s1"}],
            "meta": {"auth_token": "api_…"},
            "stream": False,
        },
    ),
    ("GET", "/v1/models"): Example(
        {
            "object": "list",
            "data": [
                {
                    "id": "local-gguf",
                    "object": "model",
                    "created": 0,
                    "owned_by": "context-chat",
                    "capabilities": ["chat"],
                }
            ],
        }
    ),
    ("POST", "/v1/embeddings"): Example(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.6, -0.8]}],
            "model": "all-minilm-l6-v2",
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        },
        {"input": ["a roof"], "encoding_format": "float"},
    ),
    ("POST", "/v1/documents"): Example(
        {"object": "list", "data": [_DOCUMENT]},
        {"collection": "town", "id": "lift", "files": "(lift.txt)"},
        "multipart/form-data",
    ),
    ("GET", "/v1/documents/{document_id}"): Example({**_DOCUMENT, "status": "indexed"}),
    ("DELETE", "/v1/documents/{document_id}"): Example({"id": _DOCUMENT["id"], "object": "document", "deleted": True}),
    ("POST", "/v1/conversations"): Example({**_CONVERSATION, "messages": 0}, {"title": "The lift"}),
    ("POST", "/api/v1/chat/start"): Example(
        {"conversation_id": _PLAN_ID, "message": "Conversation started. How can I help you deploy your workload?"},
        {"title": "Llama 70B"},
    ),
    ("POST", "/api/v1/chat/message"): Example(
        _ASKED_BACK, {"conversation_id": _PLAN_ID, "message": "Serve a language model"}
    ),
    ("GET", "/api/v1/chat"): Example(
        {
            "conversations": [
                {
                    "conversation_id": _PLAN_ID,
                    "title": "Llama 70B",
                    "updated_at": "2025-11-01T12:01:00+00:00",
                    "message_count": 2,
                }
            ],
            "next": None,
        }
    ),
    ("GET", "/api/v1/chat/{conversation}"): Example({**_PLAN_CONVERSATION, "messages": []}),
    ("PATCH", "/api/v1/chat/{conversation}"): Example(_PLAN_CONVERSATION, {"title": "Llama 70B"}),
    ("DELETE", "/api/v1/chat/{conversation}"): Example(None),
    **{
        ("POST", f"/api/v1/tools/{tool.name}"): Example(
            {"connected": False, "message": NOT_CONNECTED} if not tool.example else {"results": [], "count": 0},
            dict(tool.example) or None,
        )
        for tool in TOOLS.values()
    },
    ("GET", "/v1/conversations"): Example({"object": "list", "data": [_CONVERSATION], "has_more": False}),
    ("DELETE", "/v1/conversations"): Example({"object": "conversations.deleted", "deleted": 3}),
    ("GET", "/v1/conversations/export"): Example({"object": "list", "data": [_WHOLE_CONVERSATION]}),
    ("GET", "/v1/conversations/{conversation}"): Example(_WHOLE_CONVERSATION),
    ("DELETE", "/v1/conversations/{conversation}"): Example(
        {"id": _CONVERSATION_ID, "object": "conversation.deleted", "deleted": True}
    ),
    ("POST", "/chat"): Example(
        {
            "response": "The office is open from 9 to 5.",
            "sources": [_OF_CHAT],
            "blocked": False,
            "session_id": None,
            "request_id": "3f0c1b",
        },
        {"message": "When is the office open?", "stream": False},
    ),
    ("POST", "/chat/stop"): Example(None, {"request_id": "3f0c1b"}),
    ("POST", "/chat/feedback"): Example(None, {"request_id": "3f0c1b", "rating": "up", "comment": "That helped."}),
    ("GET", "/chat/sessions/{session_id}"): Example(
        {"session_id": "visit-7", "messages": _WHOLE_CONVERSATION["messages"]}
    ),
    ("DELETE", "/chat/sessions/{session_id}"): Example(None),
    ("GET", "/health/live"): Example({"status": "ok"}),
    ("GET", "/health/ready"): Example({"status": "ok"}),
    ("GET", "/.well-known/acme-challenge/{token}"): Example("token.thumbprint", answered_as="text/plain"),
    ("POST", "/admin/api-keys"): Example(_NEW_KEY, _NEW_KEY_WANTED),
    ("GET", "/admin/api-keys"): Example([_LISTED_KEY]),
    ("GET", "/admin/api-keys/{api_key}/status"): Example(
        {"exists": True, "active": True, "collection": "town", "client_name": "Town site", "created_at": 1732000000.5}
    ),
    ("POST", "/admin/api-keys/deactivate"): Example(
        {"status": "success", "message": "API key deactivated"}, {"api_key": _KEY["id"]}
    ),
    ("POST", "/admin/api-keys/{key_id}/rotate"): Example(_NEW_KEY, {"grace_seconds": 60}),
    ("DELETE", "/admin/api-keys/{key_id}"): Example(None),
    ("GET", "/admin/collections"): Example([_COLLECTION]),
    ("POST", "/admin/collections"): Example(_COLLECTION, {"name": "town", "title": "Town of Brambleford"}),
    ("DELETE", "/admin/collections/{name}"): Example(None),
    ("POST", "/admin/collections/{name}/qa-pairs"): Example(
        {"collection": "town", "received": 1, "imported": 1, "new": 1, "waiting": 0, "rejected": []},
        [{"question": "When is the office open?", "answer": "From 9 to 5."}],
    ),
    ("POST", "/admin/collections/{name}/documents"): Example({"object": "list", "data": [_DOCUMENT]}),
    **GATEWAY,
}
"""By method and path."""
