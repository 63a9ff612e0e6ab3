# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Refact's clients may ask for, in today's form and in the one of versions before 0.10.15."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from context_chat_backend.completing.models import Role, ServedModel
from context_chat_backend.errors import ModelUnavailable
from context_chat_backend.web.envelope import ApiError
from context_chat_backend.web.program_route import AnyCaller, ProgramRoute, Ready
from context_chat_backend.wiring import Backend

router = APIRouter(route_class=ProgramRoute)
_CLIENT = re.compile(r"refact-lsp (\d+)\.(\d+)\.(\d+)")
_NEW_FORM = (0, 10, 15)
_TOKENS = 512
"""What an embedding model reads, where it does not say."""
_NOWHERE = {
    "telemetry_basic_endpoint": "",
    "telemetry_corrected_snippets_endpoint": "",
    "telemetry_basic_retrieve_my_own_endpoint": "",
}


@router.get("/refact-caps")
@router.get("/coding_assistant_caps.json")
async def caps(request: Request, backend: Ready, _: AnyCaller) -> dict[str, Any]:
    """The models for code, chat and vectors, and where they are asked; nothing is reported to anybody."""
    read, size = await _embedding(backend)
    client = _CLIENT.match(request.headers.get("user-agent", ""))
    if client is not None and tuple(map(int, client.groups())) < _NEW_FORM:
        return _older(backend, size)
    models = backend.passing.models
    completion, chat = models.of(Role.COMPLETION), models.of(Role.CHAT)
    code = _default(completion)
    embedding = {"n_ctx": read, "size": size}
    return {
        "cloud_name": "Context Chat",
        "completion": {
            "endpoint": "/v1/completions",
            "default_model": code,
            "default_multiline_model": code,
            "models": {one.name: _of_code(one) for one in completion},
        },
        "chat": {
            "endpoint": "/v1/chat/completions",
            "default_model": _default(chat),
            "models": {one.name: {"n_ctx": one.context_tokens, "supports_tools": True} for one in chat},
        },
        "embedding": {
            "endpoint": "v1/embeddings",
            "default_model": backend.embedding_model,
            "models": {backend.embedding_model: embedding},
        },
        "telemetry_endpoints": _NOWHERE,
        "tokenizer_endpoints": {name: f"/tokenizer/{name.replace('/', '--')}" for name in _tokenizers(backend)},
        "caps_version": models.version,
    }


@router.get("/tokenizer/{name}", response_class=Response)
async def tokenizer(name: str, backend: Ready, _: AnyCaller) -> Response:
    """The tokenizer of a model, in the form of Hugging Face; `--` stands for `/` in its name."""
    file = _tokenizers(backend).get(name.replace("--", "/"))
    if file is None:
        raise ApiError(404, "not_found", "there is no tokenizer of that model here")
    try:
        return Response(await asyncio.to_thread(file.read_bytes), media_type="application/json")
    except OSError:
        raise ApiError(404, "not_found", "the tokenizer of that model cannot be read") from None


def _older(backend: Backend, size: int) -> dict[str, Any]:
    """The flat form."""
    models = backend.passing.models
    code, chat = models.of(Role.COMPLETION), models.of(Role.CHAT)
    names = dict.fromkeys(one.name for one in (*code, *chat))
    patch = {one.name: {"n_ctx": one.context_tokens} for one in (*code, *chat)}
    return {
        "cloud_name": "Context Chat",
        "endpoint_template": "/v1/completions",
        "endpoint_style": "openai",
        "endpoint_chat_passthrough": "/v1/chat/completions",
        "running_models": [*names, backend.embedding_model],
        "code_completion_default_model": _default(code),
        "multiline_code_completion_default_model": _default(code),
        "code_chat_default_model": _default(chat),
        "models_dict_patch": patch,
        "default_embeddings_model": backend.embedding_model,
        "endpoint_embeddings_template": "v1/embeddings",
        "endpoint_embeddings_style": "openai",
        "size_embeddings": size,
        "tokenizer_path_template": "/tokenizer/$MODEL",
        "tokenizer_rewrite_path": {name: name.replace("/", "--") for name in _tokenizers(backend)},
        "telemetry_basic_dest": "",
        "caps_version": models.version,
    }


def _of_code(one: ServedModel) -> dict[str, Any]:
    return {"n_ctx": one.context_tokens, "supports_scratchpads": {one.template.scratchpad: {}}}


def _default(models: list[ServedModel]) -> str:
    return models[0].name if models else ""


def _tokenizers(backend: Backend) -> dict[str, Path]:
    """The files of those models that have one."""
    folder = backend.config.storage / "model_files"
    return {one.name: folder / one.tokenizer for one in backend.config.gateway.models if one.tokenizer is not None}


async def _embedding(backend: Backend) -> tuple[int, int]:
    """How many tokens the embedding model reads, and how long its vectors are."""
    used, read = backend.spaces.answering, _TOKENS
    if (embedder := used.embedder) is not None:
        with suppress(ModelUnavailable):
            read = await asyncio.to_thread(lambda: embedder.max_tokens)
    return read, used.stored.space.dimension
