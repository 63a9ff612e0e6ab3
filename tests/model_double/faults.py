# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be wrong with a model server, by name. Each gets the connection, the step of the script and the request."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tests.model_double.dialects import Chat
from tests.model_double.protocol import Connection

Fault = Callable[[Connection, Mapping[str, Any], Mapping[str, Any]], Awaitable[None]]
FOR_EVER = 3600.0


async def silence(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Takes the request and answers after `seconds`, or never."""
    await to.pause(float(step.get("seconds", FOR_EVER)))


async def silent_body(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Sends a head and nothing else."""
    await to.begin()
    await to.pause(FOR_EVER)


async def stall(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Falls silent after the first piece."""
    await to.begin()
    await to.piece(asked, step.get("says", "stub"))
    await to.pause(FOR_EVER)


async def endless(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Goes on writing, a word every few milliseconds, or every `seconds`."""
    await to.begin()
    while True:
        await to.piece(asked, step.get("says", "word "))
        await to.pause(float(step.get("seconds", 0.005)))


async def drip(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Writes `words` words, one every `seconds`, and ends as it should."""
    words = int(step.get("words", 200))
    await to.begin()
    for number in range(words):
        await to.piece(asked, f"t{number} ")
        await to.pause(float(step.get("seconds", 0.02)))
    counts = {"prompt_tokens": 5, "completion_tokens": words, "total_tokens": words + 5}
    await to.raw(to.dialect.end(asked, "stop", counts))


async def hang_up(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Closes the connection without an answer."""


async def status(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuses with `status`, and `error` or `retry_after` where the step has them."""
    headers = {"retry_after": str(step["retry_after"])} if "retry_after" in step else {}
    await to.json({"error": step.get("error", {"message": "no"})}, int(step.get("status", 500)), **headers)


async def overflow(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuses as llama.cpp does when the prompt has more than `n_ctx` tokens, of which a word has one."""
    error = {
        "code": 400, "message": "the request exceeds the available context size", "n_ctx": int(step.get("n_ctx", 512)),
        "type": "exceed_context_size_error", "n_prompt_tokens": tokens(asked),
    }  # fmt: skip
    await to.json({"error": error}, 400)


async def error_200(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Says 200, and means an error."""
    await to.json({"error": {"message": "overloaded", "code": 503}})


async def error_event(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Sends an error as a piece, after `says` where the step has it."""
    await to.begin()
    if "says" in step:
        await to.piece(asked, step["says"])
    if to.dialect.kind == Chat.kind:
        await to.event({"error": {"message": "slot unavailable", "code": 500}})
    else:
        await to.raw(b'{"error": "model runner has unexpectedly stopped"}\n')


async def page(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Answers with a page for browsers."""
    await to.head(kind="text/html")
    await to.raw(b"<!DOCTYPE html>\n<title>Welcome</title>\n")


async def rubbish(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Answers with bytes that mean nothing."""
    await to.begin()
    await to.raw(b"data: \x00\xff\xfe{[[[\n\n" * 20)


async def wrong_shape(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Answers with JSON of another shape: `event` of the step."""
    said = step.get("event", {"choices": [{"nothing": 1}]})
    await to.begin()
    if to.dialect.kind == Chat.kind:
        await to.event(said)
        await to.raw(b"data: [DONE]\n\n")
    else:
        await to.raw(json.dumps(said).encode() + b"\n")


async def huge(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Answers `megabytes` of text: in pieces, or in one line."""
    await to.begin()
    for _ in range(int(step.get("megabytes", 10)) * 16):
        piece = "blah " * 13_107
        await (to.raw(piece.encode()) if step.get("one_line") else to.piece(asked, piece))
    await to.raw(to.dialect.end(asked, "stop", {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}))


async def cut(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Closes the connection in the middle of the answer."""
    await to.begin()
    await to.piece(asked, step.get("says", "stub "))


async def no_end(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Leaves out `[DONE]`, as some proxies do."""
    ended = to.dialect.end({}, "stop", {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9})
    await to.begin()
    await to.piece(asked, step.get("says", "stub"))
    await to.raw(ended.replace(b"data: [DONE]\n\n", b""))


async def half_bytes(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Cuts a character in two events, and another one at the end."""
    await to.head()
    for half in (b"Gr\xc3", b"\xbc\xc3\x9fe \xf0\x9f", b"\x98\x80 \xe4"):
        await to.raw(b'data: {"choices": [{"delta": {"content": "' + half + b'"}}]}\n\n')
    await to.raw(b"data: [DONE]\n\n")


async def half_pairs(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Cuts a surrogate pair in two events, and sends half of one."""
    await to.head()
    for half in (r"a \ud83d", r"\ude00 b", r" \ud83d c\u0000"):
        await to.raw(b'data: {"choices": [{"delta": {"content": "' + half.encode() + b'"}}]}\n\n')
    await to.raw(b"data: [DONE]\n\n")


async def byte_by_byte(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Sends a right answer with comments, a byte at a time."""
    await to.begin()
    said = to.dialect.piece(asked, step.get("says", "Grüße"))
    ended = to.dialect.end({}, "stop", {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9})
    if to.dialect.kind == Chat.kind:
        said = b": ping\r\n\r\n" + said.replace(b"\n", b"\r\n")
    for byte in said + ended:
        await to.raw(bytes([byte]))


async def whole(to: Connection, step: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Answers in one piece, though a stream was asked for."""
    await to.json(to.dialect.whole(asked, [step.get("says", "stub answer")], step))


def tokens(asked: Mapping[str, Any]) -> int:
    """Words of all messages, or of the prompt."""
    return sum(len(str(message["content"]).split()) for message in asked.get("messages", ())) or len(
        str(asked.get("prompt", "")).split()
    )


FAULTS: Mapping[str, Fault] = {
    fault.__name__: fault
    for fault in (
        silence, silent_body, stall, endless, drip, hang_up, status, overflow, error_200, error_event, page, rubbish,
        wrong_shape, huge, cut, no_end, half_bytes, half_pairs, byte_by_byte, whole,
    )
}  # fmt: skip
