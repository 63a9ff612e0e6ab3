# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the routes of Nextcloud answer, around a backend that only remembers: contract push-4x and appapi 3."""

from __future__ import annotations

import asyncio
import errno
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from context_chat_backend.config import AppSettings, Secret
from context_chat_backend.domain import EVERYTHING, Answer, Citation, FoundSource, Location, Passage, SourceRef
from context_chat_backend.errors import (
    ContextChatError,
    DatabaseUnavailable,
    DiskFull,
    InvalidRequest,
    ModelUnavailable,
)
from context_chat_backend.limits import Limits
from context_chat_backend.store.overview import StateCount
from context_chat_backend.web import multipart
from context_chat_backend.web.app import build_app
from tests.fakes import MAX_SOURCE_BYTES, FakeBackend, FakeNextcloud
from tests.program import BOUNDARY, headers, part

SECRET = "s3cret-demo"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
ROUTES = [
    ("GET", "/"), ("GET", "/enabled"), ("PUT", "/enabled"), ("POST", "/init"), ("POST", "/trigger"),
    ("GET", "/downloadLogs"), ("PUT", "/loadSources"), ("POST", "/deleteSources"), ("POST", "/deleteProvider"),
    ("POST", "/deleteSourcesByProvider"), ("POST", "/deleteSourcesByProviderForAllUsers"), ("POST", "/deleteUser"),
    ("POST", "/updateAccess"), ("POST", "/updateAccessProvider"), ("POST", "/updateAccessDeclarative"),
    ("POST", "/countIndexedDocuments"), ("POST", "/query"), ("POST", "/docSearch"), ("GET", "/status"),
]  # fmt: skip
ALWAYS = ("/", "/enabled", "/init", "/trigger", "/downloadLogs", "/status")
WORKING = [route for route in ROUTES if route[1] not in ALWAYS]
REF = "files__default: 5"


@pytest.fixture
def backend(tmp_path: Path) -> FakeBackend:
    return FakeBackend(tmp_path)


@pytest.fixture
async def client(backend: FakeBackend) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(backend) as client:
        yield client


def connect(backend: Any, **bounds: Any) -> httpx.AsyncClient:
    app = build_app(backend, **({"hold_seconds": 0.05, "enable_seconds": 0.05} | bounds))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://backend", headers=headers(SECRET))


async def load(client: httpx.AsyncClient, *parts: bytes) -> httpx.Response:
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return await client.put("/loadSources", content=body, headers=MULTIPART)


def beta(ref: str, body: bytes, user: str) -> bytes:
    return part(ref, body).replace(b"userIds: alice", f"userId: {user}".encode())


# Authentication


def encoded(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


@pytest.mark.parametrize("route", ROUTES)
async def test_without_the_headers_every_route_answers_401_whatever_is_sent(
    client: httpx.AsyncClient, backend: FakeBackend, route: tuple[str, str]
) -> None:
    for name in ("EX-APP-ID", "EX-APP-VERSION", "AUTHORIZATION-APP-API"):
        stranger = headers(SECRET)
        del stranger[name]
        client.headers = httpx.Headers(stranger)
        for body, kind in ((b"", "text/plain"), (b"{not json", "application/json"), (b"x", MULTIPART["Content-Type"])):
            answer = await client.request(*route, content=body, headers={"Content-Type": kind})
            assert answer.status_code == 401
            assert answer.json() == {"error": "not authenticated"}
    assert backend.actions.calls == []
    assert backend.questions == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"AUTHORIZATION-APP-API": value}
        for value in (
            "", " ", "%%%", "Bearer", encoded(SECRET), encoded("alice"), encoded(":"), encoded(f":{SECRET} "),
            encoded(f":{SECRET[:-1]}"), encoded(f"a:b:{SECRET}"), encoded(b"\xff\xfe:" + SECRET.encode()),
            encoded(b":\xff\xfe"), encoded(f":{SECRET}")[:-1], encoded(f":{SECRET}") + "!", "=", "ü",
        )
    ] + [{"EX-APP-ID": ""}, {"EX-APP-ID": "another"}, {"EX-APP-VERSION": ""}],
)  # fmt: skip
async def test_malformed_and_wrong_headers_answer_401(client: httpx.AsyncClient, wrong: dict[str, str]) -> None:
    answer = await client.get("/enabled", headers=[(name.encode(), value.encode()) for name, value in wrong.items()])
    assert answer.status_code == 401
    assert answer.json() == {"error": "not authenticated"}


@pytest.mark.parametrize("user", ["", "alice", "müller 🦊"])
async def test_any_user_and_any_version_may_come_with_the_right_secret(client: httpx.AsyncClient, user: str) -> None:
    answer = await client.get("/enabled", headers=headers(SECRET, user) | {"EX-APP-VERSION": "0.0.1"})
    assert answer.status_code == 200


async def test_a_secret_may_hold_colons_and_umlauts(backend: FakeBackend) -> None:
    backend.config.app = AppSettings(secret=Secret("a:b:ü"))
    async with connect(backend) as client:
        assert (await client.get("/enabled", headers=headers("a:b:ü", "alice"))).status_code == 200
        assert (await client.get("/enabled", headers=headers("b:ü", "alice:a"))).status_code == 200  # the same bytes
        assert (await client.get("/enabled", headers=headers("ü", "a:b"))).status_code == 401


@pytest.mark.parametrize("secret", [None, Secret("")])
async def test_without_a_secret_nobody_is_authenticated(backend: FakeBackend, secret: Secret | None) -> None:
    backend.config.app = AppSettings(secret=secret)
    async with connect(backend) as client:
        assert (await client.get("/enabled", headers=headers(""))).status_code == 401
        assert (await client.get("/heartbeat")).status_code == 200


async def test_authentication_can_be_switched_off(backend: FakeBackend) -> None:
    backend.config.app = AppSettings(disable_aaa=True)
    async with connect(backend) as client:
        client.headers = httpx.Headers()
        assert (await client.get("/enabled")).status_code == 200


async def test_secrets_are_neither_printed_nor_logged(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    await client.get("/enabled", headers=headers("guessed-secret"))
    seen = "".join(capsys.readouterr()) + caplog.text
    for secret in (SECRET, "guessed-secret", encoded(f":{SECRET}"), encoded(":guessed-secret")):
        assert secret not in seen


# /loadSources


async def test_a_delivery_is_what_its_headers_say(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    mail = part("mail__messages: 12:34", b"Hi", users="bob", title='Käse, "gut"', type="text")
    answer = await load(client, part(REF, b"\x00body\r\n", users="alice, bob,alice,"), mail)

    assert answer.json() == {"loaded_sources": [REF, "mail__messages: 12:34"], "sources_to_retry": []}
    (file, content), (message, _) = backend.admission.admitted
    assert content == b"\x00body\r\n"
    assert (str(file.ref), file.realm, file.title, file.media_type) == (REF, "nextcloud", "files/5.txt", "text/plain")
    assert {reader.name for reader in file.readers} == {"alice", "bob"}
    assert file.modified_at.timestamp() == 1_718_000_000
    assert not file.adds_readers
    assert message.adds_readers
    assert message.title == 'Käse, "gut"'


async def test_a_delivery_of_the_beta_adds_its_one_reader(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    assert (await load(client, beta(REF, b"x", "a,b"))).status_code == 200
    ((delivery, _),) = backend.admission.admitted
    assert delivery.adds_readers
    assert {reader.name for reader in delivery.readers} == {"a,b"}


@pytest.mark.parametrize(
    "changes",
    [
        {"userIds": ""}, {"userIds": " , ,"}, {"userIds": "a\x00b"}, {"userIds": "x" * 256}, {"modified": ""},
        {"modified": "1.5"}, {"modified": "-1"}, {"modified": "0x10"}, {"modified": "٣"}, {"modified": "9" * 5000},
        {"modified": "253402300800"}, {"provider": ""}, {"provider": "mail__messages"}, {"type": "a\x00b"},
    ],
)  # fmt: skip
async def test_a_part_of_no_use_is_in_neither_list_and_harms_no_other(
    client: httpx.AsyncClient, backend: FakeBackend, changes: dict[str, str]
) -> None:
    answer = await load(client, part("files__default: 1", b"x"), part(REF, b"x", **changes), part("mail__a: 2", b"x"))

    assert answer.status_code == 200
    assert answer.json() == {"loaded_sources": ["files__default: 1", "mail__a: 2"], "sources_to_retry": []}
    assert len(backend.admission.admitted) == 2


@pytest.mark.parametrize(
    "ref",
    ["", "5", "files__default", "files__default:5", "files__default:  5", "files: 5", "__: 5", "files__default: ",
     "files__default: a b", "../5", "files__default: ü", "files__default: 5;x", "x" * 600 + "__a: 5"],
)  # fmt: skip
async def test_source_ids_of_wrong_shape_are_in_neither_list(client: httpx.AsyncClient, ref: str) -> None:
    answer = await load(client, part(ref, b"x", provider="files__default"), part("files__default: 1", b"x"))
    assert answer.json() == {"loaded_sources": ["files__default: 1"], "sources_to_retry": []}


async def test_empty_and_too_large_sources_are_in_neither_list(client: httpx.AsyncClient) -> None:
    large = part("files__default: 2", b"x" * (MAX_SOURCE_BYTES + 1))
    at_most = part("files__default: 3", b"x" * MAX_SOURCE_BYTES)
    answer = await load(client, part("files__default: 1", b""), large, at_most)
    assert answer.json() == {"loaded_sources": ["files__default: 3"], "sources_to_retry": []}


async def test_of_a_source_delivered_twice_the_last_delivery_counts(client: httpx.AsyncClient) -> None:
    assert (await load(client, part(REF, b""), part(REF, b"x"))).json()["loaded_sources"] == [REF]
    both = await load(client, part(REF, b"x"), part(REF, b""))
    assert both.json() == {"loaded_sources": [], "sources_to_retry": []}


async def test_what_has_no_room_is_to_be_sent_again_and_what_is_unchanged_is_not(backend: FakeBackend) -> None:
    backend.admission.room = 1
    backend.admission.unchanged = {SourceRef.parse("files__default: 3")}

    async with connect(backend, hold_seconds=1) as client:
        answer = await load(client, *(part(f"files__default: {n}", b"x") for n in (1, 2, 3, 4)))

    assert answer.status_code == 200
    assert answer.json() == {
        "loaded_sources": ["files__default: 1", "files__default: 3"],
        "sources_to_retry": ["files__default: 2", "files__default: 4"],
    }
    assert "cc-retry" not in answer.headers
    assert len(backend.admission.waits) == 1  # one wait for the request, not one for each source


async def test_with_no_room_at_all_the_whole_request_is_to_be_sent_again(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.admission.room = 0
    answer = await load(client, part(REF, b"x"), part("files__default: 6", b""))
    assert answer.status_code == 503
    assert answer.headers["cc-retry"] == "true"
    assert answer.json()["error"]


async def test_the_beta_sends_all_again_when_one_had_no_room(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.admission.room = 1
    answer = await load(client, beta(REF, b"x", "alice"), beta("files__default: 6", b"x", "alice"))
    assert answer.status_code == 503


async def test_a_request_is_held_until_there_is_room(backend: FakeBackend) -> None:
    backend.admission.room, backend.admission.room_comes = 0, True
    async with connect(backend, hold_seconds=60) as client:
        answer = await load(client, part(REF, b"x"), part("files__default: 6", b"x"))
    assert len(answer.json()["loaded_sources"]) == 2
    assert all(0 < wait <= 60 for wait in backend.admission.waits)


async def test_a_failing_database_sends_the_whole_request_again(
    client: httpx.AsyncClient, backend: FakeBackend
) -> None:
    backend.admission.fails_with = DatabaseUnavailable("host=10.1.1.1 refused")
    answer = await load(client, part(REF, b"x"))
    assert answer.status_code == 500
    assert "10.1.1.1" not in answer.text
    assert "cc-retry" not in answer.headers


@pytest.mark.parametrize("error", [DiskFull("full"), OSError(errno.ENOSPC, "full")])
async def test_a_full_disk_asks_for_the_request_again(
    client: httpx.AsyncClient, backend: FakeBackend, error: Exception
) -> None:
    backend.admission.fails_with = error
    answer = await load(client, part(REF, b"x"))

    assert (answer.status_code, answer.headers["cc-retry"]) == (503, "true")
    backend.admission.fails_with = None
    assert (await load(client, part(REF, b"x"))).json()["loaded_sources"] == [REF]


async def test_no_file_of_a_request_outlives_it(
    client: httpx.AsyncClient, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multipart, "SMALL_BYTES", 1)
    await load(client, part(REF, b"xx"), part("files__default: 6", b"yy"))
    backend.admission.fails_with = RuntimeError("bug")
    assert (await load(client, part(REF, b"xx"))).json() == {"error": "internal error"}
    assert [isinstance(body, Path) for body in backend.admission.bodies] == [True] * 3
    assert list((backend.config.storage / "tmp").iterdir()) == []


async def test_status_tells_numbers_and_no_titles(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.overview.states = [
        StateCount("files__default", "waiting", None, 8),
        StateCount("files__default", "rejected", "encrypted", 2),
    ]
    backend.switch.enabled = False
    told = (await client.get("/status")).json()

    assert told["states"] == {"waiting": 8, "rejected": 2}
    assert told["rejected"] == {"encrypted": 2}
    assert (told["sources_per_second"], told["seconds_left"]) == (4.0, 2.0)
    assert told["slowest"] == [{"ref": "files__default: 7", "parse_ms": 900, "embed_ms": 20}]


async def test_a_request_without_sources_is_answered_in_the_shape_of_the_contract(client: httpx.AsyncClient) -> None:
    expected = {"detail": [{"type": "missing", "loc": ["body", "sources"], "msg": "Field required", "input": None}]}
    other = part(REF, b"x").replace(b'name="sources"', b'name="other"')
    for answer in (await load(client), await load(client, other)):
        assert answer.status_code == 422
        assert answer.json() == expected


# Actions


@pytest.mark.parametrize(
    ("path", "body", "call"),
    [
        ("/deleteSources", {"sourceIds": [REF, " mail__m: 1:2 ", "rubbish", ""]},
         ("delete_sources", "nextcloud", [REF, "mail__m: 1:2"])),
        ("/deleteSources", {"userId": "alice", "sourceNames": [REF]}, ("deny", "nextcloud", [REF], {"alice"})),
        ("/deleteProvider", {"providerKey": "mail__m"}, ("delete_provider", "nextcloud", "mail__m")),
        ("/deleteSourcesByProviderForAllUsers", {"providerKey": "mail__m"},
         ("delete_provider", "nextcloud", "mail__m")),
        ("/deleteSourcesByProvider", {"userId": "al", "providerKey": "mail__m"},
         ("deny", "nextcloud", "mail__m", {"al"})),
        ("/deleteUser", {"userId": "a,b 🦊"}, ("delete_user", "nextcloud", "a,b 🦊")),
        ("/updateAccess", {"op": "allow", "userIds": ["c", "c"], "sourceId": REF},
         ("allow", "nextcloud", [REF], {"c"})),
        ("/updateAccess", {"op": "deny", "userIds": ["b"], "sourceId": "mail__m: 12:34"},
         ("deny", "nextcloud", ["mail__m: 12:34"], {"b"})),
        ("/updateAccessProvider", {"op": "deny", "userIds": ["b"], "providerId": "mail__m"},
         ("deny", "nextcloud", "mail__m", {"b"})),
        ("/updateAccessProvider", {"op": "allow", "userIds": ["b"], "providerId": "mail__m"},
         ("allow", "nextcloud", "mail__m", {"b"})),
        ("/updateAccessDeclarative", {"userIds": ["a", "c"], "sourceId": REF},
         ("replace", "nextcloud", [REF], {"a", "c"})),
    ],
)  # fmt: skip
async def test_each_action_is_done_as_it_is_said(
    client: httpx.AsyncClient, backend: FakeBackend, path: str, body: dict[str, Any], call: tuple[Any, ...]
) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200
    assert list(answer.json()) == ["message"]
    assert answer.headers["content-type"] == "application/json"
    assert backend.actions.calls == [call]

    for error, status in ((DatabaseUnavailable("x"), 500), (ContextChatError("x"), 500)):
        backend.actions.fails_with = error
        answer = await client.post(path, json=body)
        assert answer.status_code == status  # never a 4xx: the companion would forget the action
        assert "cc-retry" not in answer.headers


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/deleteSources", {}, 400), ("/deleteSources", {"sourceIds": [" ", ""]}, 400),
        ("/deleteSources", {"sourceIds": []}, 400), ("/deleteSources", {"sourceIds": "x"}, 422),
        ("/deleteSources", {"sourceNames": [REF]}, 400), ("/deleteSources", {"sourceIds": ["rubbish"]}, 200),
        ("/deleteSources", {"sourceNames": [REF], "userId": " "}, 400),
        ("/deleteProvider", {"providerKey": " "}, 400), ("/deleteProvider", {"providerKey": "messages"}, 200),
        ("/deleteSourcesByProvider", {"userId": "", "providerKey": "mail__m"}, 400),
        ("/deleteSourcesByProvider", {"providerKey": "mail__m"}, 422),
        ("/deleteUser", {"userId": "a\ud800"}, 422), ("/deleteSources", {"sourceIds": ["\ud800"]}, 422),
        ("/deleteUser", {"userId": " "}, 400), ("/deleteUser", {"userId": "a\x00"}, 400),
        ("/updateAccess", {"op": "grant", "userIds": ["a"], "sourceId": REF}, 422),
        ("/updateAccess", {"op": "allow", "userIds": [], "sourceId": REF}, 400),
        ("/updateAccess", {"op": "allow", "userIds": ["a"], "sourceId": "5"}, 400),
        ("/updateAccessProvider", {"op": "allow", "userIds": ["a"], "providerId": "mail"}, 400),
        ("/updateAccessProvider", {"op": "allow", "userIds": [""], "providerId": "mail__m"}, 400),
        ("/updateAccessDeclarative", {"userIds": [], "sourceId": REF}, 400),
        ("/updateAccessDeclarative", {"userIds": ["a"], "sourceId": ""}, 400),
    ],
)  # fmt: skip
async def test_what_can_never_be_done_is_refused_and_nothing_happens(
    client: httpx.AsyncClient, backend: FakeBackend, path: str, body: dict[str, Any], status: int
) -> None:
    answer = await client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert backend.actions.calls == []
    if status == 422:
        assert all(set(fault) == {"type", "loc", "msg", "input"} for fault in answer.json()["detail"])
    if status == 400:
        assert answer.json()["error"]


async def test_counts_name_files_unless_there_is_nothing(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    for counts, expected in (
        ({}, {}),
        ({"mail__m": 7}, {"files__default": 0, "mail__m": 7}),
        ({"files__default": 2}, {"files__default": 2}),
    ):
        backend.ledger.counts = counts
        answer = await client.post("/countIndexedDocuments", headers={"Content-Type": "application/json"})
        assert answer.json() == expected


# Questions


def passage(ref: str) -> Passage:
    return Passage(SourceRef.parse(ref), "t", "text", Location(), "english", 0.5, 1, datetime.fromtimestamp(0, UTC))


async def test_an_answer_names_each_cited_source_once(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    cited = (Citation(0, 3, passage(REF)), Citation(4, 7, passage(REF)), Citation(8, 9, passage("mail__m: 1:2")))
    backend.says = Answer("In May [1]", cited)

    answer = await client.post("/query", json={"query": " When? ", "userId": "alice", "useContext": True})

    assert answer.json() == {"output": "In May [1]", "sources": [REF, "mail__m: 1:2"]}
    (asked,) = backend.questions
    assert (asked.text, asked.asker.name, asked.asker.realm, asked.limit) == ("When?", "alice", "nextcloud", 20)
    assert asked.scope == EVERYTHING


async def test_without_context_the_model_alone_answers(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    answer = await client.post("/query", json={"query": "hi", "userId": "alice", "useContext": False})
    assert answer.json() == {"output": "you said: hi", "sources": []}
    assert backend.questions == []


async def test_a_search_answers_a_bare_list(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    body = {"query": "x", "userId": "alice", "ctxLimit": 7}
    assert (await client.post("/docSearch", json=body)).json() == []
    backend.found = [FoundSource(SourceRef.parse(REF), "Pläne", 0.9)]
    assert (await client.post("/docSearch", json=body)).json() == [{"source_id": REF, "title": "Pläne"}]
    assert backend.questions[0].limit == 7


async def test_scopes_drop_what_has_no_valid_form(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    for kind, named in (("source", [REF, "rubbish", REF]), ("provider", ["mail__m", "mail", "mail__m"])):
        body = {"query": "x", "userId": "alice", "scopeType": kind, "scopeList": named}
        assert (await client.post("/query", json=body)).status_code == 200
    assert backend.questions[0].scope.sources == (SourceRef.parse(REF),)
    assert backend.questions[1].scope.providers == ("mail__m",)


@pytest.mark.parametrize("path", ["/query", "/docSearch"])
@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"query": ""}, 422), ({"query": " \n\x00"}, 422), ({"query": None}, 422), ({"userId": " "}, 422),
        ({"query": "marmot\ud800"}, 422), ({"userId": "a\ud800"}, 422), ({"userId": "a\x00b"}, 400),
        ({"ctxLimit": 0}, 422), ({"ctxLimit": "many"}, 422), ({"ctxLimit": 10**30}, 200),
        ({"query": "x" * 32_768}, 200), ({"query": "x" * 32_769}, 400), ({"query": "a\x00b"}, 200),
        ({"scopeType": "source"}, 400), ({"scopeType": "provider", "scopeList": []}, 400),
        ({"scopeType": "source", "scopeList": ["rubbish", ""]}, 400),
        ({"scopeType": "provider", "scopeList": [REF]}, 400), ({"scopeType": "moon", "scopeList": [REF]}, 422),
        ({"scopeType": "source", "scopeList": ["\ud800"]}, 422), ({"scopeType": None, "scopeList": None}, 200),
    ],
)  # fmt: skip
async def test_odd_questions_have_a_stated_answer(
    client: httpx.AsyncClient, path: str, changes: dict[str, Any], status: int
) -> None:
    body = json.dumps({"query": "marmot", "userId": "alice"} | changes)  # escapes what UTF-8 cannot say
    answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert "cc-retry" not in answer.headers
    assert "marmot" not in answer.text
    if status == 400:
        assert next(iter(changes)).removesuffix("Type").removesuffix("List") in answer.json()["error"]


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (ModelUnavailable("key sk-123 refused"), 500, False), (DatabaseUnavailable("password"), 500, False),
        (InvalidRequest("query: too long"), 400, True), (ContextChatError("secret"), 500, False),
        (ValueError("what the user wrote"), 500, False),
    ],
)  # fmt: skip
async def test_errors_show_only_what_may_be_shown(
    client: httpx.AsyncClient, backend: FakeBackend, error: Exception, status: int, shown: bool
) -> None:
    backend.says = error
    answer = await client.post("/query", json={"query": "x", "userId": "alice"})
    assert answer.status_code == status
    assert (str(error) in answer.text) is shown
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("body", [b"{not json", b"\xff\xfe", b"[" * 100_000, b"null", b"[]", b"", b'"marmot"'])
async def test_what_is_no_json_object_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/query", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/json"
    assert "marmot" not in answer.text


@pytest.mark.parametrize("declared", [True, False])
async def test_json_has_a_bound(client: httpx.AsyncClient, declared: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(Limits.nextcloud_body_bytes // 2**20 + 1):
            yield b" " * 2**20

    content = b" " * (Limits.nextcloud_body_bytes + 1) if declared else pieces()
    answer = await client.post("/query", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert list(answer.json()) == ["error"]


# Starting, disabled


@pytest.mark.parametrize("route", WORKING)
async def test_disabled_means_503_without_retry(
    client: httpx.AsyncClient, backend: FakeBackend, route: tuple[str, str]
) -> None:
    backend.switch.enabled = False
    for ready in (True, False):
        backend.health.ready = ready
        answer = await client.request(*route, json={}) if route[0] == "POST" else await load(client, part(REF, b"x"))
        assert answer.status_code == 503
        assert list(answer.json()) == ["error"]
        assert "cc-retry" not in answer.headers


async def test_while_starting_only_the_heartbeat_is_well(backend: FakeBackend) -> None:
    backend.health.ready = False
    async with connect(backend) as client:
        assert (await client.get("/heartbeat", headers={"AUTHORIZATION-APP-API": ""})).json() == {"status": "ok"}
        for method, path in (("GET", "/"), ("GET", "/enabled"), ("POST", "/trigger"), ("PUT", "/enabled?enabled=1")):
            answer = await client.request(method, path)
            assert answer.status_code == 503
            assert answer.json()["error"]
            assert "cc-retry" not in answer.headers


async def test_enabling_waits_for_the_start(backend: FakeBackend) -> None:
    backend.health.ready = backend.switch.enabled = False
    async with connect(backend, enable_seconds=60) as client:
        enabling = asyncio.create_task(client.put("/enabled?enabled=1"))
        await asyncio.sleep(0.01)
        assert not enabling.done()
        backend.health.ready = True
        assert (await enabling).json() == {"error": ""}
    assert backend.switch.enabled


async def test_enabling_and_disabling_may_be_repeated(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    for number, state in (("0", False), ("0", False), ("1", True), ("1", True)):
        assert (await client.put(f"/enabled?enabled={number}")).json() == {"error": ""}
        assert (await client.get("/enabled")).json() == {"enabled": state}
    for odd in ("", "?enabled=", "?enabled=true", "?enabled=2"):
        assert (await client.put(f"/enabled{odd}")).json()["error"]
    assert backend.switch.enabled


async def test_a_failing_switch_says_so_in_json(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.switch.fails_with = DatabaseUnavailable("x")
    assert (await client.put("/enabled?enabled=1")).json()["error"]
    assert (await client.get("/enabled")).status_code == 500
    assert (await client.post("/query", json={"query": "x", "userId": "a"})).status_code == 500


async def test_init_answers_at_once_and_reports_100_when_ready(backend: FakeBackend) -> None:
    backend.health.ready = False
    backend.nextcloud = FakeNextcloud()
    async with connect(backend) as client:
        assert (await client.post("/init")).json() == {}
        await asyncio.sleep(0.01)
        assert backend.nextcloud.reports == []
        backend.health.ready = True
        async with asyncio.timeout(60):
            while not backend.nextcloud.reports:
                await asyncio.sleep(0)
        assert backend.nextcloud.reports == [100]


async def test_init_without_nextcloud_is_no_error(client: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.nextcloud = None
    assert (await client.post("/init")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/loadSources", 405), ("POST", "/loadSources", 405), ("GET", "/docs", 404),
     ("GET", "/openapi.json", 404), ("GET", "/heartbeat/", 404), ("POST", "/query/", 404)],
)  # fmt: skip
async def test_unknown_routes_and_methods(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]
