# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sections of `config.yaml` as earlier chat servers had them become ours, before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import section, switch

_OF_ANSWERS = (
    "base_url",
    "model",
    "temperature",
    "top_p",
    "top_k",
    "repeat_penalty",
    "num_predict",
    "num_ctx",
    "timeout",
)
_OLLAMA = "http://localhost:11434"
_OF_RERANKER = ("enabled", "model", "top_n", "batch_size", "temperature")


def as_ours(keys: Mapping[str, Any]) -> dict[str, Any]:
    """`ollama`, and `reranker` and `safety` where they speak of its models, in our words. Raises ConfigurationError."""
    ours = dict(keys)
    is_told = ours.get("ollama") is not None
    ollama = section("ollama", ours.pop("ollama", None))
    url = ollama.get("base_url") or _OLLAMA
    if is_told:
        told = {key: value for key, value in ollama.items() if key in _OF_ANSWERS and value is not None}
        left = set(ollama) - {*_OF_ANSWERS, "embed_model", "stream"}
        if left:
            raise ConfigurationError(
                f"ollama.{min(map(str, left))}: it is not known; there are: {', '.join(_OF_ANSWERS)}"
            )
        ours.setdefault("llm", {"ollama": told | {"base_url": url}})
        if ollama.get("embed_model"):
            ours.setdefault("embedding", {"ollama": {"base_url": url, "model": ollama["embed_model"]}})
        if isinstance(ours.get("safety"), dict) and ours["safety"].get("judge", "llm") == "llm":
            ours["safety"] = {"ollama_url": url} | ours["safety"]
    reranker = ours.get("reranker")
    if isinstance(reranker, dict) and set(reranker) & {"enabled", "top_n"}:
        _map_reranker(ours, reranker, url)
    return ours


def _map_reranker(ours: dict[str, Any], reranker: Mapping[str, Any], url: str) -> None:
    for key in reranker:
        if key not in _OF_RERANKER:
            raise ConfigurationError(f"reranker.{key}: it is not known; there are: {', '.join(_OF_RERANKER)}")
    if not switch("reranker.enabled", reranker.get("enabled", False)):
        ours["reranker"] = None
        return
    options = {key: value for key, value in reranker.items() if key in ("model", "batch_size") and value is not None}
    if reranker.get("temperature") is not None:
        options["temperature"] = float(reranker["temperature"])
    ours["reranker"] = {"ollama": options | {"base_url": url}}
    retrieval = ours.get("retrieval")
    ours["retrieval"] = {"return_results": reranker.get("top_n", 3)} | (
        retrieval if isinstance(retrieval, dict) else {}
    )
