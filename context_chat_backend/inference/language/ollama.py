# SPDX-License-Identifier: AGPL-3.0-or-later
"""Language models of Ollama by its own protocol, in which its options have a place.

Ollama cuts a prompt that is longer than `num_ctx` without a word, and takes a small one where nothing is said: it is
always told how much it is to read. It counts no tokens beforehand.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from context_chat_backend.domain import Ended, Finish, Prompt, Reasoning, Sampling, Usage
from context_chat_backend.errors import ModelFailure, ModelUnavailable
from context_chat_backend.inference.answers import ServerRefuses
from context_chat_backend.inference.language.characters import WholeCharacters
from context_chat_backend.inference.openai_http import OpenAIServer
from context_chat_backend.token_estimates import careful_tokens

_CONTEXT_TOKENS = 8192
"""At most, where the configuration does not say it: room in the memory of the machine is taken for all of it."""
_FOREIGN = "the model server does not speak Ollama's protocol"
_CHAT = "/api/chat"


class OllamaModel:
    """One model of one server."""

    def __init__(
        self,
        server: OpenAIServer,
        model: str,
        *,
        context_tokens: int | None = None,
        answer_tokens: int = 1024,
        options: Mapping[str, Any] | None = None,
        keep_alive: str | int | None = None,
        thinks: bool | None = None,
        name: str | None = None,
    ) -> None:
        """`server` is at Ollama's root; `options` are Ollama's names of how to write, `keep_alive` how long it stays.

        Without `context_tokens` the model is read with what it was made for, up to 8192. `thinks` switches on or off
        what it thinks before it answers, where it can; None: as it is made. `name` is what it is called here, where
        that is not its name at the server.
        """
        self._server = server
        self._model = model
        self._name = name or model
        self._context_tokens = context_tokens
        self._answer_tokens = answer_tokens
        self._options = dict(options or {})
        self._request: dict[str, Any] = {"model": model, "stream": True}
        if keep_alive is not None:
            self._request["keep_alive"] = keep_alive
        if thinks is not None:
            self._request["think"] = thinks

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
            told = await self._server.ask("/api/show", {"model": self._model})
            self._context_tokens = min(_told(told) or _CONTEXT_TOKENS, _CONTEXT_TOKENS)
        return self._context_tokens

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See ports.LanguageModel. Estimated."""
        return [careful_tokens(text) for text in texts]

    async def check(self) -> None:
        """See ports.LanguageModel."""
        await self._server.ask("/api/version", is_probe=True)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Reasoning | Ended, None]:
        """See ports.LanguageModel. Closing it closes the connection, on which Ollama stops generating."""
        options = ollama_options(prompt.sampling, self._answer_tokens)
        if prompt.stop:
            options["stop"] = list(prompt.stop)
        messages = [{"role": message.role, "content": message.text} for message in prompt.messages]
        characters = WholeCharacters()
        async with aclosing(self.lines(_CHAT, {"messages": messages, "options": options})) as lines:
            async for text, thought, line in lines:
                if thought:
                    yield Reasoning(thought)
                if said := characters.add(text):
                    yield said
                if line.get("done"):
                    if rest := characters.end():
                        yield rest
                    finish = Finish.LENGTH if line.get("done_reason") == "length" else Finish.STOP
                    yield Ended(finish, self.usage(line))

    async def lines(
        self, path: str, asked: Mapping[str, Any]
    ) -> AsyncGenerator[tuple[str, str, Mapping[str, Any]], None]:
        """Text, thought and the whole of each line of the answer to `asked`, whose options go before the configured.

        Raises ModelUnavailable.
        """
        options = {"num_ctx": await self.context_tokens(), "num_predict": self._answer_tokens, **self._options}
        wanted = asked.get("options", {})
        stops = [*options.get("stop", ()), *wanted.get("stop", ())]
        options |= wanted | ({"stop": list(dict.fromkeys(stops))} if stops else {})
        try:
            body = {**self._request, **asked, "options": options}
            async with aclosing(self._server.events(path, body)) as events:
                async for line in events:
                    yield *_read(line), line
        except ServerRefuses as refusal:
            if refusal.status == 404:
                raise ModelUnavailable("Ollama does not have the model: ollama pull fetches it") from None
            if (
                refusal.status != 400
                or "think" not in self._request
                or "think" not in str(refusal.error.get("message"))
            ):
                raise
            del self._request["think"]  # it cannot, and what was wanted is how it writes anyway
            async with aclosing(self.lines(path, asked)) as again:
                async for one in again:
                    yield one

    def usage(self, line: Mapping[str, Any]) -> Usage | None:
        """What Ollama counted; a prompt it still has in memory some versions do not count."""
        prompt, answer = line.get("prompt_eval_count"), line.get("eval_count")
        return Usage(prompt, answer) if type(prompt) is int and type(answer) is int else None

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()


def ollama_options(sampling: Sampling, most_tokens: int) -> dict[str, Any]:
    """How to write, by Ollama's names: what is wanted of it and no more; at most `most_tokens` tokens."""
    wanted = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": sampling.seed,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repeat_penalty": sampling.repetition_penalty,
        "num_predict": None if sampling.max_tokens is None else min(sampling.max_tokens, most_tokens),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _read(line: Any) -> tuple[str, str]:
    """Text and thought of one line. Raises ModelUnavailable."""
    message = line.get("message", line) if isinstance(line, dict) else None
    if not isinstance(message, dict) or not {"content", "response", "thinking"} & message.keys():
        raise ModelUnavailable(_FOREIGN, ModelFailure.BROKEN)
    text, thought = message.get("content", message.get("response")), message.get("thinking")
    return text if isinstance(text, str) else "", thought if isinstance(thought, str) else ""


def _told(shown: Any) -> int | None:
    """How much a model was made to read."""
    info = shown.get("model_info") if isinstance(shown, dict) else None
    for name, value in (info if isinstance(info, dict) else {}).items():
        if name.endswith(".context_length") and type(value) is int and value > 0:
            return value
    return None
