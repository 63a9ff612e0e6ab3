# SPDX-License-Identifier: AGPL-3.0-or-later
"""The re-ranker of the configuration is the one that is asked; one that is down is named by `doctor`."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from context_chat_backend import config
from context_chat_backend.cli.doctor import Finding, examine
from context_chat_backend.domain import Delivery, Principal, Question, Realm, SourceRef
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.wiring import Backend
from tests.unit.test_rerankers import Reply, Server

ALICE = Principal(Realm.LOCAL, "alice")


@asynccontextmanager
async def started(database_url: str, storage: Path, reranker: str) -> AsyncIterator[Backend]:
    text = f"embedding:\n  hashing:\nreranker:\n{reranker}"
    (storage / "config.yaml").write_text(text, encoding="utf-8")
    environment = {"APP_PERSISTENT_STORAGE": str(storage), "CCB_DB_URL": database_url}
    backend = Backend(config.load(environment, cores=2))
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


async def index(backend: Backend, *texts: str) -> None:
    for number, text in enumerate(texts):
        with tempfile.NamedTemporaryFile("w") as body:
            body.write(text)
            body.flush()
            ref = SourceRef("files__default", str(number))
            delivery = Delivery(Realm.LOCAL, ref, "a.txt", "text/plain", datetime.now(UTC), frozenset({ALICE}))
            await backend.admission.admit(delivery, Path(body.name), len(text))
    async with asyncio.timeout(30):
        while (await backend.ledger.waiting()).sources:
            await backend.indexer.wait_for_verdict(0.1)


async def reranker_finding(backend: Backend) -> Finding:
    return next(iter([finding async for finding in examine(backend) if finding.what == "re-ranker"]))


class Brief(Server):
    """Likes short texts."""

    def judged(self, body: dict[str, Any]) -> Reply:
        results = [{"index": n, "relevance_score": -len(text)} for n, text in enumerate(body["documents"])]
        return 200, json.dumps({"results": results}).encode()


async def test_the_server_named_in_the_configuration_orders_the_passages(database_url: str, storage: Path) -> None:
    question = Question("Where does the ferry leave?", ALICE)
    async with started(database_url, storage, "  none:\n") as backend:
        await index(backend, "The ferry leaves from the harbour.", "The harbour is old.", "Where?")
        by_search = [passage.text for passage in await backend.find_passages(question)]
    with Brief().running() as server:
        async with started(database_url, storage, f"  remote:\n    base_url: {server.url}\n") as backend:
            by_judge = [passage.text for passage in await backend.find_passages(question)]
            examined = await reranker_finding(backend)

    assert by_search[0] == "The ferry leaves from the harbour."
    assert by_judge == ["Where?", "The harbour is old.", "The ferry leaves from the harbour."]
    assert (examined.well, examined.said) == (True, "remote")


async def test_questions_are_answered_while_the_server_is_down_and_doctor_says_so(
    database_url: str, storage: Path
) -> None:
    async with started(database_url, storage, "  remote:\n    base_url: http://127.0.0.1:9/v1\n") as backend:
        await index(backend, "The ferry leaves at noon.", "The harbour is old and the ferry is not.")
        answer = await backend.answer(Question("When does the ferry leave?", ALICE))
        examined = await reranker_finding(backend)

    assert "at noon" in answer.text
    assert not examined.well
    assert "does not answer" in examined.said


async def test_a_folder_without_a_model_stops_the_start(database_url: str, storage: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"reranker\.onnx\.model"):
        async with started(database_url, storage, "  onnx:\n    model: nothing\n"):
            pytest.fail("it started")
