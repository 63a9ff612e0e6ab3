# SPDX-License-Identifier: AGPL-3.0-or-later
"""The language model that is Nextcloud's keeps the contract of all; what it writes comes from the double."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from context_chat_backend.domain import Principal, Realm
from context_chat_backend.errors import WritingRefused
from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.nextcloud.text2text import NextcloudWriter
from context_chat_backend.ports import LanguageModel
from tests.language_contract import QUESTION, LanguageModelContract, prompted, written
from tests.nextcloud_double.process import Nextcloud

SECRET = "a secret"


@pytest.fixture(scope="module")
def running() -> Iterator[Nextcloud]:
    with Nextcloud() as double:
        double.do("add_users", names=["alice"])
        double.change_app(id="context_chat_backend", version="5.4.0", secret=SECRET, enabled=True)
        yield double


@pytest.fixture
def double(running: Nextcloud) -> Nextcloud:
    running.forget()
    running.set_tasks(writes="You asked: {input}")
    return running


@asynccontextmanager
async def writer_at(url: str) -> AsyncIterator[NextcloudWriter]:
    client = NextcloudClient(url, "context_chat_backend", "5.4.0", SECRET)
    yield NextcloudWriter(client)
    await client.close()


class TestNextcloudWriter(LanguageModelContract):
    @pytest.fixture
    async def model(self, double: Nextcloud) -> AsyncIterator[LanguageModel]:
        async with writer_at(double.url) as writer:
            yield writer


async def test_it_is_asked_once_for_an_answer_in_the_name_of_the_asker(double: Nextcloud) -> None:
    async with writer_at(double.url) as writer:
        text, _ = await written(writer, prompted(QUESTION))

    assert text == f"You asked: Answer shortly.\n\n{QUESTION}"
    (scheduled,) = double.calls("POST", "/taskprocessing/schedule")
    assert scheduled["user"] == "alice"


async def test_it_writes_for_users_of_nextcloud_alone(double: Nextcloud) -> None:
    async with writer_at(double.url) as writer:
        for asker in (None, Principal(Realm.LOCAL, "alice")):
            with pytest.raises(WritingRefused, match="configure another language model"):
                await written(writer, replace(prompted(QUESTION), asker=asker))

    assert double.calls("POST", "/taskprocessing/schedule") == []


TOLD: dict[str, tuple[dict[str, Any], str]] = {
    "nobody writes": ({"writes": None}, "Nextcloud has no app that generates text"),
    "it fails": ({"final_status": "STATUS_FAILED"}, "Nextcloud's text generation has failed; try again"),
    "it is cancelled": ({"final_status": "STATUS_CANCELLED"}, "Nextcloud's text generation was cancelled"),
}


@pytest.mark.parametrize("case", TOLD)
async def test_what_goes_wrong_there_is_told_in_words_of_its_user(double: Nextcloud, case: str) -> None:
    changes, told = TOLD[case]
    double.set_tasks(**changes)
    async with writer_at(double.url) as writer:
        with pytest.raises(WritingRefused, match=told):
            await written(writer, prompted(QUESTION))
