# SPDX-License-Identifier: AGPL-3.0-or-later
"""The model process: shared, restarted when it dies, gone when nobody uses it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from context_chat_backend.errors import ConfigurationError, ModelUnavailable
from context_chat_backend.inference.embedding import separate
from context_chat_backend.inference.embedding.estimate import token_starts
from context_chat_backend.inference.embedding.hashing import HashingEmbedder
from context_chat_backend.inference.embedding.separate import SeparateEmbedder
from context_chat_backend.inference.processes import cause_of_death
from context_chat_backend.inference.shared_process import Served
from tests.waiting import PATIENCE

OPTIONS = {"dimension": 64}


def served(models: Path, **options: object) -> SeparateEmbedder:
    return SeparateEmbedder(Served("hashing", OPTIONS | options, models, 1, False), token_starts)


def process_of(embedder: SeparateEmbedder) -> int:
    assert embedder._questions.connection is not None
    return embedder._questions.connection.pid


@pytest.fixture
async def embedder(tmp_path: Path) -> AsyncIterator[SeparateEmbedder]:
    made = served(tmp_path)
    await made.open()
    yield made
    await made.close()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_it_gives_the_vectors_the_model_gives(embedder: SeparateEmbedder) -> None:
    texts = [f"text number {number}" for number in range(50)]
    here = HashingEmbedder(64)

    assert embedder.space == here.space
    assert np.array_equal(await embedder.embed_passages(texts), await here.embed_passages(texts))
    assert np.array_equal(await embedder.embed_question("text"), await here.embed_question("text"))
    assert (await embedder.embed_passages([])).shape == (0, 64)


async def test_after_it_was_killed_the_next_question_is_answered(embedder: SeparateEmbedder) -> None:
    before, first = await embedder.embed_question("text"), process_of(embedder)
    os.kill(first, signal.SIGKILL)

    assert np.array_equal(await embedder.embed_question("text"), before)
    assert process_of(embedder) != first
    assert (await embedder.embed_passages(["text"])).shape == (1, 64)


async def test_two_programs_share_one_process_and_the_last_one_ends_it(tmp_path: Path) -> None:
    embedders = [served(tmp_path) for _ in range(3)]
    await asyncio.gather(*(embedder.open() for embedder in embedders))
    for embedder in embedders:
        await embedder.embed_question("text")
    processes = {process_of(embedder) for embedder in embedders}
    assert len(processes) == 1
    (process,) = processes
    for embedder in embedders[:2]:
        await embedder.close()

    assert (await embedders[2].embed_question("still there")).shape == (64,)
    await embedders[2].close()
    async with asyncio.timeout(PATIENCE):
        while runs(process):
            await asyncio.sleep(0.05)
    assert list((tmp_path / "run").glob("*.sock")) == []


async def test_nobody_else_may_talk_to_it(embedder: SeparateEmbedder, tmp_path: Path) -> None:
    (sock,) = (tmp_path / "run").glob("*.sock")

    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    assert sock.stat().st_mode & 0o777 == 0o600


async def test_a_deep_folder_is_no_obstacle(tmp_path: Path) -> None:
    made = served(tmp_path / ("deep" * 40) / ("deeper" * 30))
    await made.open()

    assert (await made.embed_question("text")).shape == (64,)
    await made.close()


async def test_what_the_model_said_of_itself_is_known_at_the_next_start_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = served(tmp_path)
    await first.open()
    await first.close()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    second = served(tmp_path)
    await second.open()

    assert second.space == first.space
    assert second.max_tokens == first.max_tokens
    with pytest.raises(ModelUnavailable, match="it ended with code 1"):
        await second.embed_question("text")
    await second.close()


async def test_a_process_that_dies_while_loading_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    made = served(tmp_path)
    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        await made.open()
    said = []
    for _ in range(3):
        with pytest.raises(ModelUnavailable) as caught:
            await made.embed_question("text")
        said.append("left alone" in str(caught.value))
    await made.close()

    assert said == [False, False, True]


async def test_a_configuration_that_cannot_work_is_named_at_the_start(tmp_path: Path) -> None:
    made = SeparateEmbedder(Served("magic", {}, tmp_path, 1, False), token_starts)
    with pytest.raises(ConfigurationError, match="there is no 'magic'"):
        await made.open()
    await made.close()


async def test_a_process_that_hangs_is_ended(embedder: SeparateEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    await embedder.embed_question("text")
    hung = process_of(embedder)
    os.kill(hung, signal.SIGSTOP)
    monkeypatch.setattr(separate, "_ANSWER_SECONDS", 0.3)
    with pytest.raises(ModelUnavailable, match="did not answer"):
        await embedder.embed_question("text")
    monkeypatch.setattr(separate, "_ANSWER_SECONDS", 30.0)

    assert (await embedder.embed_question("text")).shape == (64,)
    assert process_of(embedder) != hung


async def test_a_question_that_was_given_up_does_not_get_into_the_next_answer(embedder: SeparateEmbedder) -> None:
    expected = await embedder.embed_question("the second")
    for _ in range(20):
        given_up = asyncio.create_task(embedder.embed_question("the first"))
        await asyncio.sleep(0.001)
        given_up.cancel()
        assert np.array_equal(await embedder.embed_question("the second"), expected)


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (-signal.SIGILL, "GGML_NATIVE=OFF"),
        (-signal.SIGKILL, "smaller model"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (1, "code 1"),
        (None, "closed the connection"),
    ],
)
def test_the_end_of_a_process_is_explained(code: int | None, cure: str) -> None:
    assert cure in cause_of_death(code)
