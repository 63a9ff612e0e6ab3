# SPDX-License-Identifier: AGPL-3.0-or-later
"""Language models behind OpenAI's chat protocol.

Servers differ in what they tell. llama.cpp and vLLM say how much they read and count tokens; others are estimated. A
server that refuses a prompt as too long mostly says by how much: that is learned, and the next prompt is shorter.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from context_chat_backend.domain import Ended, Finish, Prompt, Reasoning, Sampling, Usage
from context_chat_backend.errors import ModelFailure, ModelUnavailable, PromptTooLong
from context_chat_backend.inference.answers import BrokeOff, ServerRefuses
from context_chat_backend.inference.language.characters import WholeCharacters
from context_chat_backend.inference.openai_http import OpenAIServer
from context_chat_backend.token_estimates import CAREFUL_BYTES

_CONTEXT_TOKENS = 8192
"""Where neither the configuration nor the server says it."""
_SHORTER = 0.75
"""So much of a prompt is tried when a server refuses it as too long and does not say how much it reads."""
_SAFE = 0.9
"""Texts differ: one that is learned from counts for others with a tenth less."""
_COUNTED_AT_ONCE = 8
_TOO_LONG = ("exceed_context_size_error", "context_length_exceeded")
_LIMIT = re.compile(r"(?:maximum context length|context window|context size|n_ctx)\D{0,20}(\d{2,8})", re.IGNORECASE)
_FOREIGN = "the model server does not speak OpenAI's protocol"
_OPTIONAL = ("stream_options", "temperature")
"""Members of a request that some servers refuse, and that are not needed."""


class OpenAIModel:
    """One model of one server."""

    def __init__(
        self,
        server: OpenAIServer,
        model: str,
        *,
        context_tokens: int | None = None,
        answer_tokens: int = 1024,
        temperature: float = 0.1,
        name: str | None = None,
    ) -> None:
        """`context_tokens` holds prompt and answer; None: the server is asked, once it is needed.

        `name` is what it is called here, where that is not its name at the server.
        """
        self.server = server
        self.upstream = model
        """Its name at the server."""
        self._name = name or model
        self._context_tokens = context_tokens
        self._answer_tokens = answer_tokens
        self._bytes_per_token = float(CAREFUL_BYTES)
        self._counts: bool | None = None
        self._request: dict[str, Any] = {
            "model": model,
            "max_tokens": answer_tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    @property
    def name(self) -> str:
        """See ports.LanguageModel."""
        return self._name

    @property
    def answer_tokens(self) -> int:
        """See ports.LanguageModel."""
        return self._answer_tokens

    async def context_tokens(self) -> int:
        """See ports.LanguageModel."""
        if self._context_tokens is None:
            props = await self.server.ask("/props", at_root=True)
            models = None if _told(props) else await self.server.ask("/models")
            self._context_tokens = _told(props) or _told_by_name(models, self.upstream) or _CONTEXT_TOKENS
        return self._context_tokens

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See ports.LanguageModel. The server counts where it can."""
        if self._counts is None and texts:
            self._counts = await self._counted(texts[0]) is not None
        if not self._counts:
            return [int(len(text.encode()) / self._bytes_per_token) + 1 for text in texts]
        slots = asyncio.Semaphore(_COUNTED_AT_ONCE)

        async def count(text: str) -> int:
            async with slots:
                return await self._counted(text) or len(text.encode())

        return list(await asyncio.gather(*(count(text) for text in texts)))

    async def check(self) -> None:
        """See ports.LanguageModel. llama.cpp and vLLM say how they are; others list their models."""
        if await self.server.ask("/health", at_root=True, is_probe=True) is None:
            await self.server.ask("/models", is_probe=True)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Reasoning | Ended, None]:
        """See ports.LanguageModel. Closing it closes the connection, on which servers stop generating."""
        asked: dict[str, Any] = {
            "messages": [{"role": message.role, "content": message.text} for message in prompt.messages]
        }
        if prompt.stop:
            asked["stop"] = list(prompt.stop)
        begun = False
        while True:
            try:
                body = self._request | asked | self._sampled(prompt.sampling)
                async with aclosing(self._written(body)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield piece
                return
            except ServerRefuses as refusal:
                if begun:
                    raise
                if is_too_long(refusal.error):
                    self._learn(refusal.error, prompt)
                    raise PromptTooLong("the question is too long for the language model: shorten it") from None
                if not self._adapted(refusal):
                    raise

    def _sampled(self, sampling: Sampling) -> dict[str, Any]:
        """Members of a request by what is wanted, without those the server has refused."""
        wanted: dict[str, Any] = {"temperature": sampling.temperature} if "temperature" in self._request else {}
        wanted |= {"top_p": sampling.top_p, "seed": sampling.seed, "top_k": sampling.top_k}
        wanted |= {"frequency_penalty": sampling.frequency_penalty, "presence_penalty": sampling.presence_penalty}
        if sampling.repetition_penalty is not None:  # by the names of llama.cpp and of vLLM
            wanted |= dict.fromkeys(("repeat_penalty", "repetition_penalty"), sampling.repetition_penalty)
        if sampling.max_tokens is not None:
            name = "max_tokens" if "max_tokens" in self._request else "max_completion_tokens"
            wanted[name] = min(sampling.max_tokens, self._answer_tokens)
        return {name: value for name, value in wanted.items() if value is not None}

    async def close(self) -> None:
        """Close the connections."""
        await self.server.close()

    async def _written(self, body: Mapping[str, Any]) -> AsyncGenerator[str | Reasoning | Ended, None]:
        characters, thoughts = WholeCharacters(), WholeCharacters()
        finish: Finish | None = None
        usage: Usage | None = None
        try:
            async with aclosing(self.server.events("/chat/completions", body)) as events:
                async for event in events:
                    piece, thought, finished, used = _read(event)
                    finish, usage = finished or finish, used or usage
                    if said := thoughts.add(thought):
                        yield Reasoning(said)
                    if text := characters.add(piece):
                        yield text
        except BrokeOff:
            if finish is None:
                raise
        if text := characters.end():
            yield text
        yield Ended(finish or Finish.STOP, usage)

    async def _counted(self, text: str) -> int | None:
        """The tokens of `text` at the server; None when it does not count, too."""
        # llama.cpp reads `content`, vLLM `prompt`; both pass over what they do not know.
        body = {"content": text, "prompt": text, "model": self.upstream}
        said = await self.server.ask("/tokenize", body, at_root=True)
        tokens = said.get("tokens") if isinstance(said, dict) else None
        return len(tokens) if isinstance(tokens, list) else None

    def _learn(self, error: Mapping[str, Any], prompt: Prompt) -> None:
        """What a refusal says about the context, and about how many tokens our texts have."""
        size = sum(len(message.text.encode()) for message in prompt.messages)
        needed, limit = _number(error, "n_prompt_tokens"), _number(error, "n_ctx")
        if limit is None and (named := _LIMIT.search(str(error.get("message", "")))):
            limit = int(named[1])
        if needed is not None:
            self._bytes_per_token = min(self._bytes_per_token, max(0.5, _SAFE * size / needed))
        known = self._context_tokens or _CONTEXT_TOKENS
        self._context_tokens = limit if limit is not None and limit != known else known
        if needed is None and limit in (None, known):
            self._bytes_per_token *= _SHORTER

    def _adapted(self, refusal: ServerRefuses) -> bool:
        """Whether the request is another one from now on, after the server named what it does not take."""
        named = str(refusal.error.get("param") or refusal.error.get("message") or "")
        for member in _OPTIONAL:
            if member in named and self._request.pop(member, None) is not None:
                return True
        if "max_completion_tokens" in named + str(refusal.error.get("message")) and "max_tokens" in self._request:
            self._request["max_completion_tokens"] = self._request.pop("max_tokens")
            return True
        return False


def _read(event: Any) -> tuple[str, str, Finish | None, Usage | None]:
    """The text of one event, what is thought in it, why the answer ends, and what it took. Raises ModelUnavailable."""
    try:
        choices = event.get("choices") or []
        used = event.get("usage")
        usage = Usage(int(used["prompt_tokens"]), int(used.get("completion_tokens") or 0)) if used else None
        if not choices:
            return "", "", None, usage
        message = choices[0].get("delta") or choices[0].get("message") or {}
        piece = message.get("content")
        thought = message.get("reasoning_content") or message.get("reasoning")
        reason = choices[0].get("finish_reason")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise ModelUnavailable(_FOREIGN, ModelFailure.BROKEN) from None
    if "delta" not in choices[0] and "message" not in choices[0]:
        raise ModelUnavailable(_FOREIGN, ModelFailure.BROKEN)
    finish = None if not reason else Finish.LENGTH if reason == "length" else Finish.STOP
    return _text(piece), _text(thought), finish, usage


def _text(said: Any) -> str:
    return said if isinstance(said, str) else ""


def is_too_long(error: Mapping[str, Any]) -> bool:
    """Whether a server refuses because of the length of a prompt."""
    named = {str(error.get("type")), str(error.get("code"))}
    return not named.isdisjoint(_TOO_LONG) or "maximum context length" in str(error.get("message", "")).lower()


def _told(props: Any) -> int | None:
    """What llama.cpp says of the context of one question."""
    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
    return _number(settings, "n_ctx") if isinstance(settings, dict) else None


def _told_by_name(models: Any, name: str) -> int | None:
    """What vLLM says of a model."""
    listed = models.get("data") if isinstance(models, dict) else None
    for model in listed if isinstance(listed, list) else ():
        if isinstance(model, dict) and model.get("id") == name:
            return _number(model, "max_model_len")
    return None


def _number(told: Mapping[str, Any], name: str) -> int | None:
    value = told.get(name)
    return value if type(value) is int and value > 0 else None
