# SPDX-License-Identifier: AGPL-3.0-or-later
"""The push surface of the real program, over HTTP: contract push-4x with its checklist and its traps."""

from __future__ import annotations

import io
import json
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pypdf import PdfWriter

from tests.program import BOUNDARY, ROOT, SECRET, Program, headers, part
from tests.waiting import until

SAMPLES = ROOT.parent / "shared" / "contract" / "samples"


@pytest.fixture(scope="module")
def program(module_storage: Path) -> Iterator[Program]:
    with Program(module_storage) as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(program: Program) -> Iterator[None]:
    yield
    for provider in ("files__default", "mail__messages"):
        program.post("/deleteProvider", {"providerKey": provider})


def outcome(program: Program, *parts: bytes) -> tuple[list[str], list[str]]:
    answer = program.load(parts)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert set(body) == {"loaded_sources", "sources_to_retry"}
    assert not set(body["loaded_sources"]) & set(body["sources_to_retry"])
    return body["loaded_sources"], body["sources_to_retry"]


def settled(program: Program, states: dict[str, int]) -> None:
    """Wait until nothing waits, and compare what is indexed."""
    until(lambda: program.post("/countIndexedDocuments") == states, said=lambda: program.post("/countIndexedDocuments"))


def sample(name: str) -> dict[str, Any]:
    file = SAMPLES / f"{name}.json"
    if not file.exists():
        pytest.skip("the contract's samples are not beside the project")
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def test_the_contracts_sample_is_answered_as_recommended(program: Program) -> None:
    request = sample("push-load-sources")["requests"][0]
    body = "\r\n".join(request["body_lines_crlf"]).encode()
    kind = {"Content-Type": request["headers"]["Content-Type"]}

    answer = program.client.put("/loadSources", content=body, headers=kind)

    assert answer.json() == sample("push-load-sources")["responses"][0]["body"]


def test_pushed_documents_are_found_and_cited(program: Program) -> None:
    loaded, _ = outcome(
        program,
        part("files__default: 1", b"The parrot of the harbour master is called Admiral."),
        part("files__default: 2", b"The harbour closes at ten.", users="bob"),
    )
    assert loaded == ["files__default: 1", "files__default: 2"]
    settled(program, {"files__default": 2})

    answer = program.post("/query", {"query": "What is the parrot called?", "userId": "alice"})
    assert answer == {
        "output": "The parrot of the harbour master is called Admiral. [1]",
        "sources": ["files__default: 1"],
    }
    assert program.search("bob", "parrot") == ["files__default: 2"]
    assert program.post("/docSearch", {"query": "parrot", "userId": "alice", "ctxLimit": 1}) == [
        {"source_id": "files__default: 1", "title": "files/1.txt"}
    ]
    nothing = program.post("/query", {"query": "Wie heißt der Papagei des Hafenmeisters?", "userId": "mallory"})
    assert nothing["sources"] == []
    assert "nichts gefunden" in nothing["output"]


def test_a_scoped_question_waits_for_sources_that_still_wait(program: Program) -> None:
    outcome(program, *(part(f"files__default: {n}", f"Locker {n} holds skates.".encode()) for n in range(1, 20)))

    found = program.search("alice", "locker 19", scopeType="source", scopeList=["files__default: 19"])

    assert found == ["files__default: 19"]


def test_scopes_narrow_the_search(program: Program) -> None:
    outcome(
        program,
        part("files__default: 1", b"A whale was seen."),
        part("mail__messages: 12:34", b"A whale was heard.", type="email"),
    )
    settled(program, {"files__default": 1, "mail__messages": 1})

    mail = program.search("alice", "whale", scopeType="provider", scopeList=["mail__messages"])
    assert mail == ["mail__messages: 12:34"]
    assert program.search("alice", "whale", scopeType="provider", scopeList=["never__heard"]) == []
    assert program.search("alice", "whale", scopeType="source", scopeList=["files__default: 999"]) == []
    for scope in ({"scopeType": "provider", "scopeList": []}, {"scopeType": "source", "scopeList": ["rubbish"]}):
        answer = program.client.post("/query", json={"query": "whale", "userId": "alice", **scope})
        assert answer.status_code == 400
        assert "scopeList" in answer.json()["error"]
    wrong = program.client.post(
        "/query", json={"query": "q", "userId": "alice", "scopeType": "moon", "scopeList": ["x"]}
    )
    assert wrong.status_code == 422


def test_unchanged_files_take_the_readers_of_the_last_delivery_and_content_adds_them(program: Program) -> None:
    for ref in ("files__default: 1", "mail__messages: 1"):
        outcome(program, part(ref, b"A heron stands in the pond.", users="alice,bob"))
    settled(program, {"files__default": 1, "mail__messages": 1})

    for ref in ("files__default: 1", "mail__messages: 1"):
        assert outcome(program, part(ref, b"A heron stands in the pond.", users="carol,bob")) == ([ref], [])

    assert program.search("alice", "heron") == ["mail__messages: 1"]
    assert set(program.search("carol", "heron")) == {"files__default: 1", "mail__messages: 1"}


def test_the_old_version_answers_until_the_new_one_is_there(program: Program) -> None:
    ref = "files__default: 1"
    outcome(program, part(ref, b"The ferry leaves at nine."))
    settled(program, {"files__default": 1})
    outcome(program, part(ref, b"The ferry leaves at noon.", modified="1719000000"))

    def says_noon() -> bool:
        said = program.post("/query", {"query": "When does the ferry leave?", "userId": "alice"})["output"]
        assert "nine" in said or "noon" in said  # never nothing
        return "noon" in said

    until(says_noon)


def test_what_is_deleted_while_it_is_on_its_way_stays_deleted_and_comes_with_its_next_delivery(
    program: Program,
) -> None:
    ref = "mail__messages: 1"
    source = part(ref, b"The ferry leaves at nine." + bytes(2_000_000))

    answer = program.load_slowly(source, lambda: program.post("/deleteSources", {"sourceIds": [ref]}))

    assert answer.json()["loaded_sources"] == [ref]
    outcome(program, part("mail__messages: 2", b"The ferry is blue."))
    settled(program, {"files__default": 0, "mail__messages": 1})
    outcome(program, part(ref, b"The ferry leaves at noon."))
    settled(program, {"files__default": 0, "mail__messages": 2})


def test_a_moved_file_is_found_by_its_new_name(program: Program) -> None:
    outcome(program, part("files__default: 1", b"Nothing of note.", title="files/before.txt"))
    settled(program, {"files__default": 1})

    outcome(program, part("files__default: 1", b"Nothing of note.", title="files/Umzug/lighthouse.txt"))

    body = {"query": "lighthouse", "userId": "alice"}
    assert program.post("/docSearch", body)[0]["title"] == "files/Umzug/lighthouse.txt"


def test_access_follows_every_action(program: Program) -> None:
    ref = "files__default: 7"
    outcome(program, part(ref, b"The orchard has nine trees.", users="alice"))
    settled(program, {"files__default": 1})

    def readers() -> set[str]:
        return {user for user in ("alice", "bob", "carol") if program.search(user, "orchard") == [ref]}

    program.post("/updateAccess", {"op": "allow", "userIds": ["bob"], "sourceId": ref})
    assert readers() == {"alice", "bob"}
    program.post("/updateAccessProvider", {"op": "allow", "userIds": ["carol"], "providerId": "files__default"})
    assert readers() == {"alice", "bob", "carol"}
    program.post("/updateAccessDeclarative", {"userIds": ["carol"], "sourceId": ref})
    assert readers() == {"carol"}
    program.post("/updateAccess", {"op": "deny", "userIds": ["carol"], "sourceId": ref})
    assert readers() == set()
    assert program.post("/countIndexedDocuments") == {}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/deleteSources", {"sourceIds": []}, 400),
        ("/deleteSources", {"sourceIds": [" "]}, 400),
        ("/deleteSources", {"sourceIds": ["nonsense", "files__default: 1\x00"]}, 200),
        ("/deleteProvider", {"providerKey": " "}, 400),
        ("/deleteProvider", {"providerKey": "messages"}, 200),
        ("/deleteUser", {"userId": ""}, 400),
        ("/deleteUser", {"userId": "a\x00b"}, 400),
        ("/updateAccess", {"op": "maybe", "userIds": ["a"], "sourceId": "files__default: 1"}, 422),
        ("/updateAccess", {"op": "allow", "userIds": [], "sourceId": "files__default: 1"}, 400),
        ("/updateAccess", {"op": "allow", "userIds": ["a"], "sourceId": "1"}, 400),
        ("/updateAccess", {"op": "deny", "userIds": ["a"], "sourceId": "mail__messages: 12:34"}, 200),
        ("/updateAccessProvider", {"op": "allow", "userIds": ["a"], "providerId": "mail"}, 400),
        ("/updateAccessDeclarative", {"userIds": [], "sourceId": "files__default: 1"}, 400),
        ("/query", {"query": " ", "userId": "alice"}, 422),
        ("/query", {"query": "q", "userId": ""}, 422),
        ("/query", {"query": "q", "userId": "alice", "ctxLimit": 0}, 422),
        ("/query", {"query": "q\x00", "userId": "alice"}, 200),
        ("/query", {"query": "q", "userId": "al\x00ice"}, 400),
        ("/query", {"query": "x" * 100_000, "userId": "alice"}, 400),
        ("/docSearch", {"query": "'; DROP TABLE source; -- \\ ' & | ! <-> ( ) : *", "userId": "alice"}, 200),
        ("/docSearch", {"query": "q", "userId": "a,b 🦊"}, 200),
        ("/docSearch", {}, 422),
    ],
)
def test_bad_input_has_a_stated_answer(program: Program, path: str, body: dict[str, object], status: int) -> None:
    answer = program.client.post(path, json=body)

    assert answer.status_code == status, answer.text
    assert "cc-retry" not in answer.headers
    assert "xxxx" not in answer.text  # what was asked is not sent back
    if status == 400:
        assert answer.json()["error"]


def bad_files() -> dict[str, tuple[bytes, str]]:
    """Contents nothing can be made of, with the types they claim."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("word/document.xml", "<a/>" * 1000)
    encrypted = io.BytesIO()
    pdf = PdfWriter()
    pdf.add_blank_page(100, 100)
    pdf.encrypt("secret")
    pdf.write(encrypted)
    docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    return {
        "blank": (b" \n\t \n", "text/plain"),
        "picture called pdf": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, "application/pdf"),
        "encrypted pdf": (encrypted.getvalue(), "application/pdf"),
        "truncated zip": (archive.getvalue()[:200], docx),
        "zip of nothing": (archive.getvalue(), docx),
        "noise": (bytes(range(256)) * 16, "application/octet-stream"),
    }


def test_unreadable_files_are_rejected_alone(program: Program) -> None:
    bad = [part(f"files__default: {100 + n}", body, type=kind) for n, (body, kind) in enumerate(bad_files().values())]
    loaded, retry = outcome(program, *bad, part("files__default: 1", b"An otter lives here."))

    assert "files__default: 1" in loaded
    assert retry == []
    settled(program, {"files__default": 1})
    assert program.search("alice", "otter") == ["files__default: 1"]


def test_parts_of_no_use_are_in_neither_list_and_lose_nothing_else(program: Program) -> None:
    good = part("files__default: 1", b"A badger digs.\x00 With NUL.", users="alice,alice, bob ,,karl 🦊")
    loaded, retry = outcome(
        program,
        part("files__default: 2", b""),
        part("files__default: 3", b"orphan", users=" "),
        part("files__default: 4", b"odd", modified="yesterday"),
        part("files__default: 5", b"odd", modified="-1"),
        part("files__default: 6", b"odd", modified="9" * 30),
        part("files__default: 7", b"odd", provider="mail__messages"),
        part("files__default 8", b"odd"),
        part("files__default:9", b"odd"),
        part("../../etc/passwd", b"odd"),
        part("files__default: 10", b"sound", type="audio/mpeg"),
        part("files__default: 11", b"template", title="files/a.pot"),
        good,
        part("files__default: 12", b"Wrong type, good text.", type="application/pdf"),
        part("files__default: 13", b"Long title.", title="files/" + "x" * 10_000),
        part("files__default: 14", b"Controls.", title="files/\ttab\x01\x1b.txt"),
        part("mail__messages: 1", b"No title.", title=""),
    )

    assert loaded == [*(f"files__default: {n}" for n in (1, 12, 13, 14)), "mail__messages: 1"]
    assert retry == []
    settled(program, {"files__default": 4, "mail__messages": 1})
    assert "files__default: 1" in program.search("karl 🦊", "badger")


def test_titles_and_users_are_utf_8(program: Program) -> None:
    outcome(program, part("files__default: 1", b"Some text.", users="müller,李雷", title='files/Käse, "gut"/计划.md'))
    settled(program, {"files__default": 1})

    body = {"query": "text", "userId": "李雷"}
    assert program.post("/docSearch", body) == [
        {"source_id": "files__default: 1", "title": 'files/Käse, "gut"/计划.md'}
    ]


def test_a_source_delivered_twice_in_one_request_is_listed_once(program: Program) -> None:
    ref = "files__default: 1"

    assert outcome(program, part(ref, b"One."), part(ref, b"Two.", modified="1719000000")) == ([ref], [])
    assert outcome(program, part(ref, b"One."), part(ref, b"")) in (([ref], []), ([], []))


def test_too_large_a_file_is_rejected_and_its_neighbour_is_not(program: Program) -> None:
    large = part("files__default: 1", b"x" * (100 * 1024 * 1024 + 1))

    assert outcome(program, large, part("files__default: 2", b"A mole digs.")) == (["files__default: 2"], [])


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 400),
        ("multipart/form-data", b"", 400),
        (f"multipart/form-data; boundary={BOUNDARY}", b"", 400),
        (f"multipart/form-data; boundary={BOUNDARY}", b"nonsense", 400),
        (f"multipart/form-data; boundary={BOUNDARY}", part("files__default: 1", b"cut off")[:-9], 400),
        (f"multipart/form-data; boundary={BOUNDARY}", f"--{BOUNDARY}--\r\n".encode(), 422),
    ],
)
def test_malformed_requests_are_refused(program: Program, content_type: str, body: bytes, status: int) -> None:
    answer = program.client.put("/loadSources", content=body, headers={"Content-Type": content_type})

    assert answer.status_code == status, answer.text
    assert "cc-retry" not in answer.headers


def test_the_dialect_of_the_beta(program: Program) -> None:
    ref = "files__default: 1"
    for user in ("alice", "bob"):
        loading = part(ref, b"A stork nests.").replace(b"userIds: alice", f"userId: {user}".encode())
        assert program.load([loading]).status_code == 200
    settled(program, {"files__default": 1})
    assert program.search("alice", "stork") == program.search("bob", "stork") == [ref]

    program.post("/deleteSources", {"userId": "alice", "sourceNames": [ref]})
    assert program.search("alice", "stork") == []
    assert program.search("bob", "stork") == [ref]
    program.post("/deleteSourcesByProvider", {"userId": "carol", "providerKey": "files__default"})
    assert program.search("bob", "stork") == [ref]
    program.post("/deleteSourcesByProviderForAllUsers", {"providerKey": "files__default"})
    assert program.search("bob", "stork") == []


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "wrong",
    [
        {"AUTHORIZATION-APP-API": ""},
        {"AUTHORIZATION-APP-API": "%%%"},
        {"AUTHORIZATION-APP-API": encoded("no colon")},
        {"AUTHORIZATION-APP-API": encoded(":wrong")},
        {"AUTHORIZATION-APP-API": encoded(f":{SECRET}x")},
        {"AUTHORIZATION-APP-API": encoded(f"alice{SECRET}")},
        {"AUTHORIZATION-APP-API": b64encode(b":\xff\xfe").decode()},
        {"AUTHORIZATION-APP-API": headers()["AUTHORIZATION-APP-API"][:-2]},
        {"EX-APP-ID": "another_app"},
        {"EX-APP-ID": ""},
        {"EX-APP-VERSION": ""},
    ],
)
def test_whatever_is_wrong_with_the_headers_is_401(program: Program, wrong: dict[str, str]) -> None:
    with httpx.Client(base_url=program.client.base_url, headers=headers() | wrong) as stranger:
        for method, path in [("GET", "/"), ("GET", "/enabled"), ("POST", "/query"), ("POST", "/init")]:
            answer = stranger.request(method, path)
            assert answer.status_code == 401
            assert answer.json() == {"error": "not authenticated"}
        assert stranger.get("/heartbeat").json() == {"status": "ok"}
    assert SECRET not in program.output()


def test_the_version_in_the_header_is_not_compared(program: Program) -> None:
    for version in ("1", "99.9.9"):
        assert program.client.get("/enabled", headers={"EX-APP-VERSION": version}).status_code == 200


def test_nothing_but_the_heartbeat_is_open(program: Program) -> None:
    with httpx.Client(base_url=program.client.base_url) as stranger:
        for path in ("/", "/enabled", "/downloadLogs", "/docs", "/openapi.json", "/trigger"):
            assert stranger.get(path).status_code in (401, 404, 405)
        assert stranger.put("/loadSources").status_code == 401


def test_disabled_means_503_without_retry_and_enabling_is_idempotent(program: Program) -> None:
    try:
        for _ in range(2):
            assert program.client.put("/enabled?enabled=0").json() == {"error": ""}
        assert program.client.get("/enabled").json() == {"enabled": False}
        for answer in (program.load([part("files__default: 1", b"x")]), program.client.post("/countIndexedDocuments")):
            assert answer.status_code == 503
            assert "cc-retry" not in answer.headers
        assert program.client.get("/downloadLogs").status_code == 200
        assert program.client.put("/enabled?enabled=maybe").json()["error"]
    finally:
        assert program.client.put("/enabled?enabled=1").json() == {"error": ""}


def test_init_answers_at_once_and_trigger_is_known(program: Program) -> None:
    assert program.client.post("/init").json() == {}
    assert program.client.post("/trigger?providerId=x").status_code == 200


def test_the_logs_come_as_one_archive_that_is_not_cached_and_holds_no_content(program: Program) -> None:
    outcome(program, part("files__default: 1", b"The unmistakable pangolin sentence.", title="files/pangolin.txt"))
    settled(program, {"files__default": 1})
    program.post("/query", {"query": "Where is the pangolin?", "userId": "alice"})

    answer = program.client.get("/downloadLogs")

    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["cache-control"] == "no-store"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        logged = b"".join(archive.read(name) for name in archive.namelist())
    assert b"source_indexed" in logged
    for content in (b"pangolin", SECRET.encode()):
        assert content not in logged
        assert content not in program.output().encode()


# Last, because what these revoke stays revoked for sources that arrive later.
@pytest.mark.parametrize(
    "name",
    [
        "push-delete-sources", "push-delete-provider", "push-delete-user", "push-update-access",
        "push-update-access-provider", "push-update-access-declarative", "push-count-indexed-documents",
        "push-query", "push-doc-search", "push-beta4-delete-sources", "push-beta4-delete-by-provider",
    ],
)  # fmt: skip
def test_every_request_of_the_samples_has_an_answer_of_the_samples(program: Program, name: str) -> None:
    read = sample(name)
    allowed = {response["status"] for response in read["responses"]}
    for request in read["requests"]:
        answer = program.client.request(request["method"], request["path"], json=request["body"])
        assert answer.status_code in allowed | {200}, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert "cc-retry" not in answer.headers
