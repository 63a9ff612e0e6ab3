# SPDX-License-Identifier: AGPL-3.0-or-later
"""One example of each route of the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from context_chat_backend.web.example import Example

_USAGE = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
_HEAD = {"id": "cmpl-5d0c0f9b3b", "object": "text_completion", "created": 1732000000, "model": "Refact/1.6B"}
_CHOICE = {"index": 0, "text": '\n    print("Hello")\n', "logprobs": None, "finish_reason": "stop"}
_COMPLETION = {**_HEAD, "choices": [_CHOICE], "usage": _USAGE}
_OF_CODE = {
    "inputs": {
        "sources": {"hello.py": "def hello_world():\n    \n"},
        "cursor": {"file": "hello.py", "line": 1, "character": 4},
        "multiline": True,
    },
    "parameters": {"temperature": 0.1, "max_new_tokens": 20},
}
_NOWHERE = {
    "telemetry_basic_endpoint": "",
    "telemetry_corrected_snippets_endpoint": "",
    "telemetry_basic_retrieve_my_own_endpoint": "",
}
_CAPS: Mapping[str, Any] = {
    "cloud_name": "Context Chat",
    "completion": {
        "endpoint": "/v1/completions",
        "default_model": "Refact/1.6B",
        "default_multiline_model": "Refact/1.6B",
        "models": {"Refact/1.6B": {"n_ctx": 4096, "supports_scratchpads": {"FIM-SPM": {}}}},
    },
    "chat": {
        "endpoint": "/v1/chat/completions",
        "default_model": "llama3.2",
        "models": {"llama3.2": {"n_ctx": 8192, "supports_tools": True}},
    },
    "embedding": {
        "endpoint": "v1/embeddings",
        "default_model": "multilingual-e5-small",
        "models": {"multilingual-e5-small": {"n_ctx": 512, "size": 384}},
    },
    "telemetry_endpoints": _NOWHERE,
    "tokenizer_endpoints": {"Refact/1.6B": "/tokenizer/Refact--1.6B"},
    "caps_version": 1732000000,
}

GATEWAY: Mapping[tuple[str, str], Example] = {
    ("POST", "/api/refact/chat"): Example(
        {
            "response": _CHOICE["text"],
            "model": "Refact/1.6B",
            "finish_reason": "stop",
            "usage": _USAGE,
            "sources": [],
            "raw_refact_response": _COMPLETION,
        },
        {"prompt": "def hello_world_python():", "model": "smallcloud/Refact-1_6B-fim"},
    ),
    ("POST", "/v1/completions"): Example(
        {**_COMPLETION, "caps_version": 1732000000},
        {"prompt": "def hello_world_python():", "model": "Refact/1.6B", "max_tokens": 50},
    ),
    ("POST", "/v1/code-completion"): Example(
        {
            "choices": [{"index": 0, "code_completion": 'print("Hello")', "finish_reason": "stop"}],
            "model": "Refact/1.6B",
            "context": {"n_ctx": 4096, "prompt_tokens": 33, "rag_tokens_limit": 0, "cached": False},
        },
        _OF_CODE,
    ),
    ("POST", "/v1/code-completion-prompt"): Example(
        {"prompt": "<fim_suffix>\n<fim_prefix>def hello_world():\n    <fim_middle>"}, _OF_CODE
    ),
    ("GET", "/refact-caps"): Example(_CAPS),
    ("GET", "/coding_assistant_caps.json"): Example(_CAPS),
    ("GET", "/tokenizer/{name}"): Example({"version": "1.0", "model": {"type": "BPE"}}),
}
