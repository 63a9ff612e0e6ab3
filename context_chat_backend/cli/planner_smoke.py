# SPDX-License-Identifier: AGPL-3.0-or-later
"""`planner smoke`: asks a running planner over HTTP whether it does what it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any

import httpx
import typer

from context_chat_backend.answering.planner.toolbox import TOOLS

_NOT_WELL = 1
_SECONDS = 60.0
CONVERSATIONS = {
    "Llama 70B inference": "I need to deploy Llama 70B for inference",
    "vision training on a budget": "Train a ResNet image classifier, budget at most $2000 per month",
    "SDXL": "Set up Stable Diffusion XL for image generation",
    "fine-tuning with MLflow": "Fine-tune Mistral 7B with LoRA and track experiments in MLflow",
    "bare greeting": "hello",
}
"""What is said, by what it is called; all but the greeting are to give a plan."""


def smoke(
    url: Annotated[str, typer.Option("--url", help="Where the planner is, for example http://localhost:8000")],
    token: Annotated[str, typer.Option("--token", help="The token of a user.")] = "",
) -> int:
    """Ask for health, use every tool, hold five conversations; a line for each."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    is_well = True
    with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=_SECONDS) as client:
        for name, check in _checks(client):
            try:
                said = check()
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                said = f"{type(error).__name__}: {error}"
            is_well = is_well and said is None
            print(f"{'ok  ' if said is None else 'BAD '} {name}" + ("" if said is None else f": {said}"))
    return 0 if is_well else _NOT_WELL


Check = Callable[[], str | None]
"""Gives what is wrong."""


def _checks(client: httpx.Client) -> Iterator[tuple[str, Check]]:
    yield "health", lambda: _status(client.get("/health"))
    for tool in TOOLS.values():
        yield tool.name, partial(_used, client, tool.name, tool.example)
    for name, message in CONVERSATIONS.items():
        wanted = "clarification" if name == "bare greeting" else "deployment_plan"
        yield name, partial(_conversation, client, message, wanted)


def _used(client: httpx.Client, tool: str, sent: Mapping[str, Any]) -> str | None:
    return _status(client.post(f"/api/v1/tools/{tool}", json=dict(sent)))


def _status(answer: httpx.Response) -> str | None:
    return None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:200]}"


def _conversation(client: httpx.Client, message: str, wanted: str) -> str | None:
    begun: Any = client.post("/api/v1/chat/start").raise_for_status().json()
    body = {"conversation_id": begun["conversation_id"], "message": message}
    answer: Any = client.post("/api/v1/chat/message", json=body).raise_for_status().json()
    client.delete(f"/api/v1/chat/{begun['conversation_id']}")
    kind = answer["response_type"]
    return None if kind == wanted else f"expected {wanted}, found {kind}"
