# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is measured: names that documents and dashboards rely on, labels without users' words, and who may read it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
import yaml

from context_chat_backend import config, metrics
from context_chat_backend.answering.observing import observed, observed_search
from context_chat_backend.audit import Audit
from context_chat_backend.config import AppSettings, Secret
from context_chat_backend.domain import (
    Answer,
    AnswerEvent,
    Citation,
    Delta,
    Done,
    FoundSource,
    Location,
    Passage,
    Principal,
    Question,
    Realm,
    Retrieved,
    SourceRef,
    Usage,
)
from context_chat_backend.errors import ConfigurationError, InvalidRequest, ModelUnavailable
from context_chat_backend.steps import Step, step
from context_chat_backend.web.app import build_app
from tests.fakes import FakeBackend
from tests.program import headers

ROOT = Path(__file__).resolve().parents[2]
SECRET, TOKEN = "s3cret-demo", "a-token-of-administrators"
QUESTION = Question("what did she write?", Principal(Realm.NEXTCLOUD, "alice"))
REFS = [SourceRef.parse(f"files__default: {n}") for n in (1, 2)]


def value(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"context_chat_{name}", labels) or 0.0


def passage(ref: SourceRef) -> Passage:
    return Passage(ref, "title", "text", Location(), "english", 0.5, 1, datetime.now(UTC))


# Names


def names() -> set[str]:
    """All names a scraper sees, with the suffixes of histograms and counters."""
    text = metrics.exposition().decode()
    families = re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE)
    suffixes = {"histogram": ("_bucket", "_sum", "_count")}
    return {name + suffix for name, kind in families for suffix in suffixes.get(kind, ("",))}


def expressions(node: Any) -> Iterator[str]:
    """Every `expr` below a node of JSON or YAML."""
    if isinstance(node, dict):
        for key, below in node.items():
            if key == "expr":
                yield str(below)
            else:
                yield from expressions(below)
    elif isinstance(node, list):
        for below in node:
            yield from expressions(below)


def blocks(kind: str) -> list[str]:
    """The pieces of code of docs/operations.md in that language."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_configuration_in_the_documents_is_read_as_it_stands(tmp_path: Path) -> None:
    ours = [block for block in blocks("yaml") if "scrape_configs" not in block]
    (tmp_path / "config.yaml").write_text("\n".join(ours), encoding="utf-8")
    read = config.load({"APP_PERSISTENT_STORAGE": str(tmp_path), "ADMIN_TOKEN": TOKEN}, cores=2)

    assert read.traces == "http://localhost:4318/v1/traces"
    assert [(one.port, one.surfaces) for one in read.listeners] == [(9464, ("metrics",))]
    assert read.warnings == ()


def test_the_line_of_the_audit_in_the_documents_has_the_members_it_has(tmp_path: Path) -> None:
    Audit(tmp_path).note("answer", QUESTION.asker, "answered")

    (told,) = [json.loads(block) for block in blocks("json")]
    assert list(told) == list(written(tmp_path)[0])


@pytest.mark.parametrize("token", ["short", "with-an-umlaut-ü-in-it", " with-blanks-around-it "])
def test_a_token_that_is_easily_guessed_or_cannot_be_sent_stops_the_start(tmp_path: Path, token: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ADMIN_TOKEN: .*openssl rand"):
        config.load({"APP_PERSISTENT_STORAGE": str(tmp_path), "ADMIN_TOKEN": token}, cores=2)


@pytest.mark.parametrize("file", ["grafana-dashboard.json", "prometheus-alerts.yaml"])
def test_dashboard_and_alerts_ask_for_metrics_that_exist(file: str) -> None:
    asked = list(expressions(yaml.safe_load((ROOT / "docs" / file).read_text(encoding="utf-8"))))

    assert len(asked) > 8
    for expression in asked:
        found = set(re.findall(r"\b(?:context_chat|process)_\w+", expression))
        assert found, expression
        assert found <= names(), expression


def test_labels_in_the_dashboard_are_labels_of_the_metrics() -> None:
    labels: dict[str, set[str]] = {metric.name: set() for metric in metrics.REGISTRY.collect()}
    for metric in vars(metrics).values():
        if hasattr(metric, "_labelnames"):
            labels[metric._name] = {*metric._labelnames, "le"}
    for expression in expressions(json.loads((ROOT / "docs" / "grafana-dashboard.json").read_text(encoding="utf-8"))):
        for name, told in re.findall(r"context_chat_(\w+)\{([^}]*)\}", expression):
            bare = re.sub(r"_(bucket|sum|count|total)$", "", name)
            used = set(re.findall(r"(\w+)\s*[=!]", told)) - {"instance", "job"}
            assert used <= labels[f"context_chat_{bare}"], expression


def test_every_metric_is_told_in_the_documents() -> None:
    told = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for metric in vars(metrics).values():
        if hasattr(metric, "_labelnames"):
            assert f"`{metric._name}`" in told


def test_no_route_of_the_proxy_leads_to_what_administrators_tools_read() -> None:
    routes = ElementTree.parse(ROOT / "appinfo" / "info.xml").getroot().findall("external-app/routes/route/url")
    assert routes
    for route in routes:
        for path in ("/metrics", "metrics", "/status", "status"):
            assert not re.match(route.text or "", path, re.IGNORECASE)


# Steps and questions


def test_a_step_is_timed_whether_it_ends_well_or_not() -> None:
    before = value("step_seconds_count", step="parse")
    with step(Step.PARSE):
        pass
    with pytest.raises(ValueError), step(Step.PARSE):
        raise ValueError

    assert value("step_seconds_count", step="parse") == before + 2


async def events(*given: AnswerEvent | Exception) -> AsyncIterator[AnswerEvent]:
    for one in given:
        if isinstance(one, Exception):
            raise one
        yield one


def asked(tmp_path: Path, *given: AnswerEvent | Exception, kind: str = "answer") -> Any:
    return observed(events(*given), QUESTION, kind, Audit(tmp_path))  # type: ignore[arg-type]


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.log").read_text(encoding="utf-8").splitlines()]


async def test_an_answer_is_counted_with_its_tokens_and_noted_with_ids_alone(tmp_path: Path) -> None:
    read = tuple(map(passage, REFS))
    answer = Answer("yes [1]", (Citation(4, 7, read[0]),), read, "quotes", usage=Usage(40, 2))
    before = value("answers_total", outcome="answered"), value("tokens_total", kind="prompt")
    spoken = value("first_word_seconds_count")

    given = (Retrieved(read), Delta("yes "), Delta("[1]"), Done(answer))
    passed = [event async for event in asked(tmp_path, *given)]

    assert passed == list(given)
    assert (value("answers_total", outcome="answered"), value("tokens_total", kind="prompt")) == (
        before[0] + 1,
        before[1] + 40,
    )
    assert value("first_word_seconds_count") == spoken + 1
    (line,) = written(tmp_path)
    datetime.fromisoformat(line.pop("timestamp"))
    assert line == {
        "kind": "answer", "realm": "nextcloud", "user": "alice", "outcome": "answered", "model": "quotes",
        "sources": ["files__default: 1", "files__default: 2"], "cited": ["files__default: 1"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (Done(Answer("nothing")), "nothing_found"),
        (Done(Answer("no", model="m", blocked=True)), "blocked"),
        (ModelUnavailable("down"), "failed"),
        (InvalidRequest("no"), "refused"),
    ],
)
async def test_how_a_question_ends_is_counted(tmp_path: Path, end: AnswerEvent | Exception, outcome: str) -> None:
    before = value("answers_total", outcome=outcome)
    stream = asked(tmp_path, Retrieved(()), end)
    if isinstance(end, Exception):
        with pytest.raises(type(end)):
            [event async for event in stream]
    else:
        [event async for event in stream]

    assert value("answers_total", outcome=outcome) == before + 1
    assert [line["outcome"] for line in written(tmp_path)] == [outcome]


async def test_who_leaves_in_the_middle_has_asked_too(tmp_path: Path) -> None:
    before = value("answers_total", outcome="cancelled")
    read = (passage(REFS[0]),)
    async with aclosing(asked(tmp_path, Retrieved(read), Delta("yes"), Done(Answer("yes")))) as stream:
        await anext(stream)

    assert value("answers_total", outcome="cancelled") == before + 1
    assert [(line["outcome"], line["sources"]) for line in written(tmp_path)] == [("cancelled", [str(REFS[0])])]


async def test_a_search_is_noted_with_what_it_found(tmp_path: Path) -> None:
    async def found() -> list[FoundSource]:
        return [FoundSource(REFS[1], "a title", 0.3)]

    assert await observed_search(found(), QUESTION, Audit(tmp_path)) == await found()

    (line,) = written(tmp_path)
    assert (line["kind"], line["sources"], line["outcome"]) == ("search", [str(REFS[1])], "answered")
    assert "a title" not in (tmp_path / "audit.log").read_text(encoding="utf-8")


async def test_without_a_wish_nothing_is_written_down(tmp_path: Path) -> None:
    [one async for one in observed(events(Done(Answer("x"))), QUESTION, "answer", Audit(None))]  # type: ignore[arg-type]

    assert list(tmp_path.iterdir()) == []


def test_the_audit_is_closed_to_others(tmp_path: Path) -> None:
    Audit(tmp_path / "audit").note("chat", QUESTION.asker, "answered")

    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o750


# Who may read


class Monitored(FakeBackend):
    """Tells what metrics.py knows."""

    def __init__(self, storage: Path, token: str | None) -> None:
        super().__init__(storage, ready=False)
        self.config.app = AppSettings(secret=Secret(SECRET), admin_token=None if token is None else Secret(token))
        self.monitoring = self

    async def exposition(self) -> bytes:
        return metrics.exposition()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(Monitored(tmp_path, TOKEN)) as client:
        yield client


def connect(backend: Any, *surfaces: str) -> httpx.AsyncClient:
    app = build_app(backend, surfaces=surfaces or ("nextcloud",))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://backend")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({}, 401),
        (bearer(TOKEN), 200),
        (bearer("another-token-of-some"), 401),
        (bearer(""), 401),
        (bearer("ü"), 401),
        (bearer("wrong") | headers(SECRET), 401),
        (headers(SECRET), 200),
        (headers(SECRET, "alice"), 401),
        (headers(SECRET, "admin"), 401),
        (headers("guessed"), 401),
    ],
)
async def test_metrics_are_for_tools_of_administrators_and_not_for_users(
    client: httpx.AsyncClient, sent: dict[str, str], status: int
) -> None:
    raw = {name.encode(): text.encode("latin-1") for name, text in sent.items()}
    answer = await client.get("/metrics", headers=raw)

    assert answer.status_code == status
    assert ("context_chat_" in answer.text) == (status == 200)
    assert status == 401 or answer.headers["cache-control"] == "no-store"


async def test_without_a_token_none_is_right(tmp_path: Path) -> None:
    async with connect(Monitored(tmp_path, None)) as client:
        for sent in (bearer(""), bearer("None"), bearer("x")):
            assert (await client.get("/metrics", headers=sent)).status_code == 401


async def test_a_port_of_their_own_serves_tools_and_nothing_else(tmp_path: Path) -> None:
    async with connect(Monitored(tmp_path, TOKEN), "metrics") as client:
        assert (await client.get("/metrics", headers=bearer(TOKEN))).status_code == 200
        assert (await client.get("/heartbeat")).status_code == 200
        assert (await client.post("/query", headers=headers(SECRET), json={})).status_code == 404


async def test_a_fault_of_ours_is_counted_as_one(tmp_path: Path) -> None:
    class Broken(Monitored):
        async def exposition(self) -> bytes:
            raise RuntimeError("bug")

    before = value("requests_total", route="/metrics", status="500")
    async with connect(Broken(tmp_path, TOKEN)) as client:
        assert (await client.get("/metrics", headers=bearer(TOKEN))).status_code == 500

    assert value("requests_total", route="/metrics", status="500") == before + 1


async def test_requests_are_counted_by_route_and_never_by_what_was_sent(client: httpx.AsyncClient) -> None:
    before = value("requests_total", route="none", status="404"), value("request_seconds_count", route="/heartbeat")
    await client.get("/what-a-user-wrote")
    await client.get("/heartbeat?what-a-user-wrote")

    assert value("requests_total", route="none", status="404") == before[0] + 1
    assert value("request_seconds_count", route="/heartbeat") == before[1] + 1
    assert b"what-a-user-wrote" not in metrics.exposition()
