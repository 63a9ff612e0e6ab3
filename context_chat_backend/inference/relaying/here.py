# SPDX-License-Identifier: AGPL-3.0-or-later
"""Models that run here, or write in a protocol of their own, answer in OpenAI's form."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from context_chat_backend.domain import Ended, Finish, Message, Prompt, Reasoning
from context_chat_backend.errors import InvalidRequest
from context_chat_backend.inference.relaying.shapes import Shape
from context_chat_backend.inference.relaying.wishes import one_answer, sampling_of, stops_of, text_of
from context_chat_backend.ports import Exchange, LanguageModel

_NOT_HERE = ("tools", "response_format")


class WriterRelay:
    """Lets a language model write, and puts what it writes into OpenAI's objects."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    async def passed(self, exchange: Exchange, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """See ports.Relay. Tools, forced formats and several choices are refused."""
        _refuse(body)
        shape, written, thoughts = Shape(exchange, self._model.name), "", ""
        ended = Ended(Finish.STOP)
        streams = bool(body.get("stream"))
        async with aclosing(self._model.stream(_prompt(exchange, body))) as pieces:
            async for piece in pieces:
                match piece:
                    case Ended():
                        ended = piece
                    case Reasoning(text):
                        thoughts += text
                        if streams:
                            yield shape.piece("", reasoning_content=text)
                    case str():
                        written += piece
                        if streams:
                            yield shape.piece(piece)
        if streams:
            yield shape.piece("", ended.finish)
            yield shape.counted(ended.usage)
        else:
            beside = {"reasoning_content": thoughts} if thoughts else {}
            yield shape.whole(written, ended.finish, ended.usage, **beside)


def _refuse(body: Mapping[str, Any]) -> None:
    for member in _NOT_HERE:
        if body.get(member):
            raise InvalidRequest(f"{member}: this model does not know them")
    one_answer(body)


def _prompt(exchange: Exchange, body: Mapping[str, Any]) -> Prompt:
    stops, sampling = stops_of(body), sampling_of(body)
    if exchange is Exchange.TEXT:
        text = str(body["prompt"])
        return Prompt((Message("user", text),), text, (), filled=True, stop=stops, sampling=sampling)
    messages = tuple(Message(str(one["role"]), text_of(one.get("content"))) for one in body["messages"])
    return Prompt(messages, messages[-1].text, (), stop=stops, sampling=sampling)
