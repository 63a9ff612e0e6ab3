# SPDX-License-Identifier: AGPL-3.0-or-later
"""The extractive model, the one behind OpenAI's protocol (its server is a process of its own), and their names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from context_chat_backend.domain import Ended, Finish, Message, Prompt, Reasoning, Usage
from context_chat_backend.errors import ConfigurationError, ModelUnavailable, PromptTooLong
from context_chat_backend.inference.breaker import Breaker
from context_chat_backend.inference.language import build_language_model
from context_chat_backend.inference.language.characters import WholeCharacters
from context_chat_backend.inference.language.extractive import ExtractiveModel
from context_chat_backend.inference.language.openai import OpenAIModel
from context_chat_backend.inference.openai_http import OpenAIServer, Patience
from context_chat_backend.ports import LanguageModel
from tests.language_contract import LanguageModelContract, prompted, written
from tests.model_double.client import ModelDouble


class TestExtractive(LanguageModelContract):
    @pytest.fixture
    def model(self) -> LanguageModel:
        return ExtractiveModel()


async def quoted(asked: Prompt) -> str:
    return (await written(ExtractiveModel(), asked))[0]


async def test_the_best_sentence_is_quoted_with_its_passage() -> None:
    asked = prompted(
        "When is the lift serviced?", "Dogs are welcome.", "The lift is old. It is serviced in April, the lift."
    )

    assert await quoted(asked) == "It is serviced in April, the lift. [2]"


async def test_a_passage_is_quoted_in_its_own_language() -> None:
    asked = prompted("Wann wird der Aufzug gewartet?", "Der Aufzug wird am 21. April gewartet; er steht dann still.")

    assert await quoted(asked) == "Der Aufzug wird am 21. April gewartet; er steht dann still. [1]"


async def test_scripts_without_spaces_are_read_too() -> None:
    asked = prompted("年度会议在哪里？", "花园很大。年度会议在洗衣房举行。猫可以来。")

    assert await quoted(asked) == "年度会议在洗衣房举行。 [1]"


@pytest.mark.parametrize("texts", [(), ("Nothing in common at all.",), ("",)])
async def test_nothing_fitting_gives_nothing(texts: tuple[str, ...]) -> None:
    assert await quoted(prompted("Where is the zebra?", *texts)) == ""


async def test_markers_inside_a_passage_are_no_citations() -> None:
    said = await quoted(prompted("Who won the game?", "The game was won by Ann [2] [17]."))

    assert said == "The game was won by Ann (2) (17). [1]"


async def test_a_sentence_that_goes_on_in_the_next_line_is_quoted_whole() -> None:
    asked = prompted(
        "Is hail covered?", "Thank you.\nDamage by hail is covered with\nan excess of 1,000 euros.\nRegards"
    )

    assert await quoted(asked) == "Damage by hail is covered with an excess of 1,000 euros. [1]"


async def test_rows_of_a_table_stay_apart() -> None:
    asked = prompted("electricity of march", "month: march; electricity: 7\nmonth: april; electricity: 8")

    assert await quoted(asked) == "month: march; electricity: 7 [1]"


async def test_a_sentence_without_end_is_shortened() -> None:
    said = await quoted(prompted("words", "many words " * 500))

    assert len(said) < 420
    assert said.endswith("… [1]")


PATIENT = Patience()
SHORT = Patience(connect=0.5, first=0.5, idle=0.4, total=3)
ASKED = prompted("a private question")


@asynccontextmanager
async def model_at(url: str, *, patience: Patience = PATIENT, **options: Any) -> AsyncIterator[OpenAIModel]:
    server = OpenAIServer(url, "key", patience=patience, breaker=options.pop("breaker", None))
    model = OpenAIModel(server, "m", **{"context_tokens": 1000, "answer_tokens": 50} | options)
    yield model
    await model.close()


class TestOpenAI(LanguageModelContract):
    @pytest.fixture
    async def model(self, double: ModelDouble) -> AsyncIterator[LanguageModel]:
        double.script({"says": "In April [1]."})
        async with model_at(double.url) as model:
            yield model


async def test_a_server_is_asked_and_its_stream_read(double: ModelDouble) -> None:
    async with model_at(double.url) as model:
        messages = (Message("system", "Be brief."), Message("user", "Why?"))
        said = await written(model, Prompt(messages, "Why?", (), stop=("X",)))

    assert said == ("stub answer", Ended(Finish.STOP, Usage(5, 4)))
    (asked,) = double.requests
    assert asked["headers"]["authorization"] == "Bearer key"
    assert asked["body"] == {
        "model": "m", "max_tokens": 50, "temperature": 0.1, "stream": True, "stream_options": {"include_usage": True},
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}], "stop": ["X"],
    }  # fmt: skip


READ = {
    "byte_by_byte": ("Grüße", Finish.STOP),
    "half_bytes": ("Grüße \U0001f600 \ufffd", Finish.STOP),
    "half_pairs": ("a \U0001f600 b \ufffd c", Finish.STOP),
    "no_end": ("stub", Finish.STOP),
    "whole": ("stub answer", Finish.STOP),
}


@pytest.mark.parametrize("fault", READ)
async def test_servers_that_are_only_strange_are_understood(double: ModelDouble, fault: str) -> None:
    double.script({"fault": fault})
    async with model_at(double.url) as model:
        text, ended = await written(model, ASKED)

    assert (text, ended.finish) == READ[fault]


async def test_what_a_model_thinks_is_no_part_of_its_answer(double: ModelDouble) -> None:
    async with model_at(double.url) as model:
        assert (await written(model, prompted("#think")))[0] == "stub answer"
        pieces = [piece async for piece in model.stream(prompted("#think"))]
    assert [piece.text for piece in pieces if isinstance(piece, Reasoning)] == ["hm"]


async def test_an_answer_that_is_cut_off_says_so(double: ModelDouble) -> None:
    double.script({"says": "so much to", "finish": "length"})
    async with model_at(double.url) as model:
        assert (await written(model, ASKED))[1].finish is Finish.LENGTH


def test_characters_are_put_together_however_they_were_cut() -> None:
    text = "Zoë 😀 年度 \x00né"
    for size in (1, 2, 3):
        for half in ("surrogateescape", "surrogatepass"):
            if half == "surrogateescape":
                raw = text.encode()
                pieces = [raw[n : n + size].decode("utf-8", half) for n in range(0, len(raw), size)]
            else:
                wide = text.encode("utf-16-le")
                pieces = [wide[n : n + 2].decode("utf-16-le", half) for n in range(0, len(wide), 2)]
            whole = WholeCharacters()
            assert "".join(whole.add(piece) for piece in pieces) + whole.end() == text.replace("\x00", "")


@pytest.mark.parametrize("trouble", [{"fault": "status", "status": 503}, {"fault": "hang_up"}])
async def test_what_fails_before_the_first_byte_is_tried_again(double: ModelDouble, trouble: dict[str, Any]) -> None:
    double.script(trouble, {"says": "ok"})
    async with model_at(double.url) as model:
        assert (await written(model, ASKED))[0] == "ok"

    assert len(double.requests) == 2


async def test_a_server_that_asks_for_patience_gets_it(double: ModelDouble) -> None:
    double.script({"fault": "status", "status": 429, "retry_after": 1}, {"says": "ok"})
    async with model_at(double.url) as model:
        assert (await written(model, ASKED))[0] == "ok"

    assert len(double.requests) == 2


TRIES: dict[str, tuple[dict[str, Any], int]] = {
    "status 401": ({"fault": "status", "status": 401}, 1),
    "status 500": ({"fault": "status", "status": 500}, 3),
    "patience of an hour": ({"fault": "status", "status": 429, "retry_after": 3600}, 1),
    "never answers": ({"fault": "silence"}, 1),
    "a head alone": ({"fault": "silent_body"}, 1),
    "falls silent": ({"fault": "stall"}, 1),
    "writes for ever": ({"fault": "endless"}, 1),
    "breaks off": ({"fault": "cut"}, 1),
    "an error with 200": ({"fault": "error_200"}, 1),
    "an error as event": ({"fault": "error_event"}, 1),
    "an error after text": ({"fault": "error_event", "says": "Well"}, 1),
    "a page": ({"fault": "page"}, 1),
    "rubbish": ({"fault": "rubbish"}, 1),
    "another shape": ({"fault": "wrong_shape"}, 1),
    "a list": ({"fault": "wrong_shape", "event": [1]}, 1),
    "choices that are none": ({"fault": "wrong_shape", "event": {"choices": "x"}}, 1),
    "usage that is none": ({"fault": "wrong_shape", "event": {"usage": [1]}}, 1),
    "10 MB in one line": ({"fault": "huge", "one_line": True}, 1),
}


@pytest.mark.parametrize("trouble", TRIES)
async def test_a_server_that_fails_is_a_model_that_is_not_available(double: ModelDouble, trouble: str) -> None:
    step, tries = TRIES[trouble]
    double.script(step)
    async with model_at(double.url, patience=SHORT) as model:
        with pytest.raises(ModelUnavailable) as caught:
            await written(model, ASKED)

    assert "private" not in str(caught.value)
    assert len(double.requests) == tries


async def test_no_server_is_a_model_that_is_not_available() -> None:
    async with model_at("http://127.0.0.1:9/v1") as model:
        with pytest.raises(ModelUnavailable):
            await written(model, ASKED)


async def test_closing_the_stream_reaches_the_server(double: ModelDouble) -> None:
    double.script({"fault": "endless"})
    async with model_at(double.url) as model:
        async with aclosing(model.stream(ASKED)) as stream:
            assert await anext(stream) == "word "
        double.wait_until_left()


@pytest.mark.parametrize("fault", ["silence", "silent_body", "stall"])
async def test_cancelling_while_waiting_reaches_the_server(double: ModelDouble, fault: str) -> None:
    double.script({"fault": fault})
    async with model_at(double.url) as model:
        waiting = asyncio.create_task(written(model, ASKED))
        while not double.requests:
            await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        double.wait_until_left()


async def test_checks_neither_close_a_model_to_questions_nor_open_it(double: ModelDouble) -> None:
    breaker = Breaker("it", tolerated=0, first_pause=30, longest_pause=30)
    async with model_at("http://127.0.0.1:1/v1", breaker=breaker) as gone:
        for _ in range(3):
            with pytest.raises(ModelUnavailable):
                await gone.check()
    with breaker.attempt():  # it is not left alone
        pass
    with suppress(ModelUnavailable), breaker.attempt():
        raise ModelUnavailable("it is gone")
    async with model_at(double.url, breaker=breaker) as well:
        await well.check()
        with pytest.raises(ModelUnavailable, match="left alone"):
            await written(well, ASKED)


async def test_a_server_that_fails_again_and_again_is_left_alone_for_a_while(double: ModelDouble) -> None:
    now = 100.0
    breaker = Breaker("it", tolerated=1, first_pause=30, longest_pause=30, clock=lambda: now)
    double.script({"fault": "status", "status": 500})
    async with model_at(double.url, breaker=breaker) as model:
        for _ in range(4):
            with pytest.raises(ModelUnavailable):
                await written(model, ASKED)
        assert len(double.requests) == 6  # the third and the fourth question did not reach it

        now += 31
        double.script({"says": "back"})
        assert (await written(model, ASKED))[0] == "back"
        assert (await written(model, ASKED))[0] == "back"


async def test_the_server_says_how_much_it_reads_and_counts_tokens(double: ModelDouble) -> None:
    double.be(n_ctx=2048)
    async with model_at(double.url, context_tokens=None) as model:
        assert await model.context_tokens() == 2048
        assert await model.count_tokens(["one two", "three"]) == [2, 1]


async def test_a_server_that_tells_nothing_is_estimated(double: ModelDouble) -> None:
    double.be(counts=False)
    async with model_at(double.url, context_tokens=None) as model:
        assert await model.context_tokens() == 8192
        assert await model.count_tokens(["a" * 30, "年" * 30]) == [11, 31]


async def test_a_refusal_as_too_long_teaches_the_limit_and_the_size_of_tokens(double: ModelDouble) -> None:
    double.be(counts=False)
    double.script({"n_ctx": 512})
    long = prompted("a b " * 600)
    async with model_at(double.url, context_tokens=100_000) as model:
        (before,) = await model.count_tokens(["a b " * 600])
        with pytest.raises(PromptTooLong):
            await written(model, long)

        assert await model.context_tokens() == 512
        (after,) = await model.count_tokens(["a b " * 600])
        assert before < 1200 <= after


OTHER_WORDS: dict[str, tuple[dict[str, Any], int]] = {
    "OpenAI": ({"code": "context_length_exceeded", "message": "the maximum context length is 4096 tokens."}, 4096),
    "vLLM": ({"type": "BadRequestError", "message": "This model's maximum context length is 900 tokens."}, 900),
    "no number": ({"code": "context_length_exceeded", "message": "too long"}, 8000),
}


@pytest.mark.parametrize("server", OTHER_WORDS)
async def test_servers_say_too_long_in_other_words(double: ModelDouble, server: str) -> None:
    error, limit = OTHER_WORDS[server]
    double.be(counts=False)
    double.script({"fault": "status", "status": 400, "error": error})
    async with model_at(double.url, context_tokens=8000) as model:
        (before,) = await model.count_tokens(["many words"])
        with pytest.raises(PromptTooLong, match="shorten"):
            await written(model, ASKED)

        assert await model.context_tokens() == limit
        assert limit < 8000 or (await model.count_tokens(["many words"]))[0] > before


@pytest.mark.parametrize(
    ("error", "left_out", "sent"),
    [
        ({"message": "Unknown parameter", "param": "stream_options"}, "stream_options", None),
        ({"message": "Unsupported value", "param": "temperature"}, "temperature", None),
        ({"message": "Use 'max_completion_tokens' instead.", "param": "max_tokens"}, "max_tokens", 50),
    ],
)
async def test_what_a_server_does_not_take_is_left_out_from_then_on(
    double: ModelDouble, error: dict[str, Any], left_out: str, sent: int | None
) -> None:
    double.script({"fault": "status", "status": 400, "error": error}, {"says": "ok"})
    async with model_at(double.url) as model:
        assert (await written(model, ASKED))[0] == "ok"
        assert (await written(model, ASKED))[0] == "ok"

    first, second, third = (asked["body"] for asked in double.requests)
    assert left_out in first
    assert left_out not in second
    assert second == third
    assert second.get("max_completion_tokens") == sent


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("magic", {}, "'extractive', 'openai'"),
        ("openai", {}, "llm.openai.base_url"),
        ("openai", {"base_url": "http://x"}, "llm.openai.model"),
    ],
)
def test_missing_options_are_asked_for_by_name(
    tmp_path: Path, name: str, options: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        build_language_model(name, options, models=tmp_path, threads=1)


async def test_the_connection_of_a_stream_serves_the_next_one() -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
                writer.write(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                writer.write(b"e\r\ndata: [DONE]\n\n\r\n")
                await writer.drain()
                writer.write(b"0\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1")
    port = listening.sockets[0].getsockname()[1]
    server = OpenAIServer(f"http://127.0.0.1:{port}", None)
    for _ in range(3):
        assert [event async for event in server.events("/completions", {"stream": True})] == []
    await server.close()
    listening.close()

    assert connections == 1
