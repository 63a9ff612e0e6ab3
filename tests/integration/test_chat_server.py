# SPDX-License-Identifier: AGPL-3.0-or-later
"""The chat server over HTTP, asked of the real program: the checks of its specification, by their numbers, and more."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chat import QUOTING, SAMPLES, TOKEN, ChatServer, chatting, events, sample
from tests.program import ROOT
from tests.waiting import until

PRICE = "what is the price of a parking permit for residents"
ABSENT = "Who won the 1950 chess title?"
NOTHING = "Nothing is known here about that."


@pytest.fixture(scope="module")
def server(module_storage: Path, module_database_url: str) -> Iterator[ChatServer]:
    """The sample of a town, and quotes as answers."""
    lines = f"{QUOTING}safety: {{enabled: false}}\nmessages:\n  no_results: {NOTHING}\n"
    with chatting(module_storage, module_database_url, lines) as running:
        early = running.admin("POST", "/api-keys", {"collection_name": "town", "client_name": "t"})
        assert (early.status_code, early.json()["error"]["code"]) == (404, "collection_not_found")  # check 2
        running.collection("town", sample())
        yield running


@pytest.fixture(scope="module")
def key(server: ChatServer) -> str:
    return server.key("town")


@pytest.mark.parametrize("token", [None, "token-of-somebody-else-altogether", "api_" + "x" * 32, "ü"])
def test_1_without_the_token_of_administrators_nothing_is_administered(server: ChatServer, token: str | None) -> None:
    answer = server.admin("POST", "/api-keys", {"collection_name": "town", "client_name": "t"}, token=token)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "admin_token_required"


def test_1_a_key_of_a_program_opens_no_route_of_administrators(server: ChatServer, key: str) -> None:
    for header in ("X-API-Key", "X-Admin-Token"):
        assert server.http.get("/admin/api-keys", headers={header: key}).status_code == 401


def test_3_a_key_is_random_letters_and_digits_and_shown_once(server: ChatServer) -> None:
    made = server.admin("POST", "/api-keys", {"collection_name": "town", "client_name": "t", "notes": "n"}).json()

    assert re.fullmatch(r"api_[A-Za-z0-9]{32}", made["api_key"])
    assert (made["client_name"], made["collection"], made["notes"], made["active"]) == ("t", "town", "n", True)
    assert isinstance(made["created_at"], float)
    assert str(uuid.UUID(made["id"])) == made["id"]
    assert made["api_key"] not in server.admin("GET", "/api-keys").text


def test_4_an_answer_comes_whole_where_that_is_wanted(server: ChatServer, key: str) -> None:
    answer = server.chat(key, PRICE).json()

    assert "48" in answer["response"]
    assert 0 < answer["sources"][0]["confidence"] <= 1
    assert answer["sources"][0]["title"] == "How much does a resident parking permit cost?"
    assert (answer["blocked"], answer["session_id"]) == (False, None)
    assert answer["request_id"]


def test_5_a_stream_holds_all_the_text_so_far_in_each_event(server: ChatServer, key: str) -> None:
    answer = server.chat(key, PRICE, stream=True)
    *growing, last = events(answer)

    assert growing
    for before, after in itertools.pairwise(growing):
        assert after["text"].startswith(before["text"])
    assert "".join(event["delta"] for event in growing) == growing[-1]["text"]
    assert "48" in growing[-1]["text"]
    assert (last["text"], last["done"], last["blocked"]) == ("", True, False)
    assert last["sources"][0]["id"].startswith("collection__town: ")
    assert not any(event["done"] for event in growing)
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["x-request-id"]


def test_6_a_stream_is_what_comes_where_nothing_else_is_said(server: ChatServer, key: str) -> None:
    silent = server.http.post("/chat", json={"message": PRICE}, headers={"X-API-Key": key})
    forced = server.chat(key, PRICE, headers={"Accept": "text/event-stream"})

    assert events(silent)[-1]["done"]
    assert events(forced)[-1]["done"]


@pytest.mark.parametrize(
    "body",
    ["{}", '{"message": ""}', '{"message": "  "}', '{"message": 5}', '{"message": "%s"}' % ("x" * 8001), "not json",
     "[]", "", '{"message": "a", "top_k": 0}', '{"message": "a", "session_id": "a b"}', '{"message": "\\ud800"}'],
)  # fmt: skip
def test_7_what_is_no_message_is_refused_with_what_is_wrong(server: ChatServer, key: str, body: str) -> None:
    written = len(server.records())
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    answer = server.http.post("/chat", content=body, headers=headers)

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "validation_error"
    assert isinstance(answer.json()["detail"], list)
    assert len(server.records()) == written


def test_7_the_longest_message_and_unknown_members_are_taken(server: ChatServer, key: str) -> None:
    assert server.chat(key, f" {'x' * 8000} ", colour="blue").status_code == 200


def test_7_a_body_that_is_too_long_is_refused(server: ChatServer, key: str) -> None:
    answer = server.chat(key, "x" * (1024 * 1024))

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_8_who_has_no_key_that_holds_is_refused_in_one_sentence(server: ChatServer) -> None:
    ended = server.key("town")
    assert server.admin("POST", "/api-keys/deactivate", {"api_key": ended}).status_code == 200

    codes = {}
    for name, sent in {"none": None, "wrong": "api_wrong", "ended": ended}.items():
        answer = server.chat(sent, PRICE)
        assert (answer.status_code, answer.json()["detail"]) == (401, "Invalid or missing API key")
        codes[name] = answer.json()["error"]["code"]
    assert codes == {"none": "missing_api_key", "wrong": "invalid_api_key", "ended": "invalid_api_key"}


def test_9_where_nothing_is_found_the_configured_sentence_is_said(server: ChatServer, key: str) -> None:
    answer = server.chat(key, ABSENT).json()

    assert (answer["response"], answer["sources"], answer["blocked"]) == (NOTHING, [], False)
    *_, said, last = events(server.chat(key, ABSENT, stream=True))
    assert (said["text"], last["sources"]) == (NOTHING, [])


def test_10_two_keys_at_the_same_moment_never_see_each_others_documents(server: ChatServer) -> None:
    question = "What colour is the gate of the depot?"
    colours = {"red-town": "crimson", "blue-town": "turquoise"}
    keys = {}
    for name, colour in colours.items():
        server.collection(name, [{"question": question, "answer": f"The gate of the depot is {colour}."}])
        keys[name] = server.key(name)

    def ask(number: int) -> tuple[str, str]:
        name = list(colours)[number % 2]
        said = server.chat(keys[name], question, stream=number % 3 == 0)
        return name, said.text

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(200)))

    for name, said in answers:
        assert colours[name] in said
        assert colours[next(other for other in colours if other != name)] not in said
        assert next(other for other in colours if other != name) not in said


TENANTS = ("amber", "birch", "cedar")
Call = tuple[int, str, bool, int]


@pytest.fixture(scope="module")
def tenants(server: ChatServer) -> list[str]:
    """Keys of collections with the same questions, whose answers hold the name of the collection alone."""
    for name in TENANTS:
        pairs = [{"question": f"What is rule {n} of the club?", "answer": f"Rule {n} is {name}-{n}."} for n in range(5)]
        server.collection(f"club-{name}", pairs)
    return [server.key(f"club-{name}") for name in TENANTS]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(("whole", "stream", "openai")), st.booleans(), st.integers(0, 4)),
        min_size=4,
        max_size=24,
    )
)
def test_10_whatever_is_asked_at_once_nobody_reads_what_is_anothers(
    server: ChatServer, tenants: list[str], calls: list[Call]
) -> None:
    def ask(call: Call) -> str:
        tenant, kind, in_session, number = call
        message = f"What is rule {number} of the club?"
        if kind == "openai":
            body = {"messages": [{"role": "user", "content": message}]}
            headers = {"X-API-Key": tenants[tenant]}
            return server.http.post("/v1/chat/completions", json=body, headers=headers).text
        session: dict[str, Any] = {"session_id": "the-same-for-all"} if in_session else {}
        return server.chat(tenants[tenant], message, stream=kind == "stream", **session).text

    with ThreadPoolExecutor(len(calls)) as pool:
        answers = list(pool.map(ask, calls))

    for (tenant, _, _, number), said in zip(calls, answers, strict=True):
        assert f"{TENANTS[tenant]}-{number}" in said
        assert not any(name in said for name in TENANTS if name != TENANTS[tenant])


def test_18_keys_are_listed_in_pages_and_never_in_full(server: ChatServer) -> None:
    server.collection("listed")
    made = [server.key("listed", notes=f"number {number}") for number in range(3)]
    server.admin("POST", "/api-keys/deactivate", {"api_key": made[0]})
    page = server.admin("GET", "/api-keys?collection=listed&limit=2&offset=1")
    active = server.admin("GET", "/api-keys?collection=listed&active_only=true")
    beyond = server.admin("GET", "/api-keys?collection=listed&offset=9")

    assert [key["notes"] for key in page.json()] == ["number 1", "number 0"]
    assert [answer.headers["X-Total-Count"] for answer in (page, active, beyond)] == ["3", "2", "3"]
    assert len(active.json()) == 2
    for key in page.json():
        assert key["_id"] == key["id"]
        assert key["api_key"].endswith("***")
        assert key["collection"] == key["collection_name"] == "listed"
    assert not any(text in server.admin("GET", "/api-keys?limit=1000").text for text in made)
    assert server.admin("GET", "/api-keys?limit=1001").status_code == 422


def test_19_the_state_of_a_key_is_told_by_itself_and_by_its_id(server: ChatServer) -> None:
    made = server.admin("POST", "/api-keys", {"collection_name": "town", "client_name": "t"}).json()
    by_key, by_id, unknown = (
        server.admin("GET", f"/api-keys/{named}/status") for named in (made["api_key"], made["id"], "api_unknown")
    )

    assert by_key.json() == by_id.json()
    assert by_id.json() | {"created_at": 0} == {
        "exists": True, "active": True, "collection": "town", "client_name": "t", "created_at": 0,
    }  # fmt: skip
    assert (unknown.status_code, unknown.json()) == (
        200,
        {"exists": False, "active": False, "collection": None, "message": "API key does not exist"},
    )
    for _ in range(2):
        ended = server.admin("POST", "/api-keys/deactivate", {"api_key": made["api_key"]})
        assert (ended.status_code, ended.json()) == (200, {"status": "success", "message": "API key deactivated"})
    assert not server.admin("GET", f"/api-keys/{made['id']}/status").json()["active"]
    missing = server.admin("POST", "/api-keys/deactivate", {"api_key": "api_unknown"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "api_key_not_found")


def test_20_a_key_stands_nowhere(server: ChatServer, module_database_url: str) -> None:
    sent = server.key("town")
    server.chat(sent, PRICE)
    server.chat(sent + "x", PRICE)
    server.admin("GET", f"/api-keys/{sent}/status")
    files = [path for path in server.program.storage.rglob("*") if path.is_file() and path.suffix in (".log", ".yaml")]

    with psycopg.connect(module_database_url) as connection:
        assert sent not in str(connection.execute("SELECT * FROM access.api_keys").fetchall())
    assert len(files) > 2
    assert [path for path in files if sent.encode() in path.read_bytes()] == []


def test_28_rephrased_questions_find_their_pair(server: ChatServer, key: str) -> None:
    rephrased = json.loads((SAMPLES / "town-rephrased.json").read_text(encoding="utf-8"))
    found = [[one["title"] for one in server.chat(key, told["asked"]).json()["sources"]] for told in rephrased]
    wanted = [told["question"] for told in rephrased]
    first = sum(titles[:1] == [title] for titles, title in zip(found, wanted, strict=True))
    among_three = sum(title in titles for titles, title in zip(found, wanted, strict=True))

    assert len(rephrased) == 60
    assert first >= 54, first
    assert among_three >= 59, among_three


def test_a_key_is_replaced_at_once_or_after_a_while(server: ChatServer) -> None:
    first = server.admin("POST", "/api-keys", {"collection_name": "town", "client_name": "t", "notes": "kept"}).json()
    second = server.admin("POST", f"/api-keys/{first['id']}/rotate", {"grace_seconds": 60}).json()
    assert [server.chat(one["api_key"], ABSENT).status_code for one in (first, second)] == [200, 200]
    third = server.admin("POST", f"/api-keys/{second['id']}/rotate").json()

    assert (third["notes"], third["collection"]) == ("kept", "town")
    assert [server.chat(one["api_key"], ABSENT).status_code for one in (second, third)] == [401, 200]
    assert server.admin("POST", f"/api-keys/{second['id']}/rotate").status_code == 404
    assert server.admin("DELETE", f"/api-keys/{third['id']}").status_code == 204
    assert server.chat(third["api_key"], ABSENT).status_code == 401
    assert server.admin("DELETE", f"/api-keys/{third['id']}").status_code == 404


def test_a_pair_with_the_same_question_is_replaced(server: ChatServer) -> None:
    asked = "Who keeps the key of the bell tower?"
    server.collection("tower", [{"question": asked, "answer": "The bell tower key is kept by Mrs Quill."}])
    key = server.key("tower")
    assert "Quill" in server.chat(key, asked).json()["response"]
    server.collection(
        "tower", [{"question": f" {asked.upper()}", "answer": "The bell tower key is kept by Mr Fennimore."}]
    )

    said = server.chat(key, asked).json()
    assert "Fennimore" in said["response"]
    assert len(said["sources"]) == 1
    (listed,) = [one for one in server.admin("GET", "/collections").json() if one["name"] == "tower"]
    assert listed["sources"] == 1


def answered(server: ChatServer, key: str, question: str, words: str) -> dict[str, Any]:
    """The answer, once what holds these words is indexed."""
    said: dict[str, Any] = {}

    def holds_them() -> bool:
        said.update(server.chat(key, question).json())
        return words in said["response"]

    until(holds_them, said=lambda: said)
    return said


def test_files_lie_beside_pairs_and_only_administrators_name_the_collection(server: ChatServer) -> None:
    server.collection("files", [{"question": "Where is the archive?", "answer": "The archive is in the cellar."}])
    form = {"files": ("ferry.txt", b"The ferry across the Wend leaves every forty minutes.", "text/plain")}
    headers = {"Authorization": "Bearer token-of-the-administrators"}
    put = server.http.post("/admin/collections/files/documents", files=form, headers=headers)
    assert put.status_code == 200, put.text
    assert put.json()["data"][0]["status"] == "waiting"
    key = server.key("files")
    said = answered(server, key, "How often does the ferry leave?", "forty minutes")

    assert said["sources"]
    assert "cellar" in server.chat(key, "Where is the archive?").json()["response"]


def test_a_deleted_collection_is_gone_and_its_keys_reach_nothing(server: ChatServer) -> None:
    server.collection("brief", [{"question": "Where is the pump?", "answer": "The pump is behind the mill."}])
    key = server.key("brief")
    assert "mill" in server.chat(key, "Where is the pump?").json()["response"]
    assert server.admin("DELETE", "/collections/brief").status_code == 204

    answer = server.chat(key, "Where is the pump?")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "collection_not_found")
    server.collection("brief")
    assert "mill" not in server.chat(key, "Where is the pump?").text
    assert server.admin("DELETE", "/collections/nowhere").status_code == 404


def test_a_session_is_remembered_for_its_own_key_alone(server: ChatServer, key: str) -> None:
    session = {"X-Session-ID": "visit:7.a_b-c"}
    assert server.chat(key, PRICE, headers=session).json()["session_id"] == "visit:7.a_b-c"
    server.chat(key, "When is the public library open?", session_id="visit:7.a_b-c")
    own = server.http.get("/chat/sessions/visit:7.a_b-c", headers={"X-API-Key": key})
    others = server.http.get("/chat/sessions/visit:7.a_b-c", headers={"X-API-Key": server.key("town")})

    assert [message["role"] for message in own.json()["messages"]] == ["user", "assistant"] * 2
    assert own.json()["messages"][0]["content"] == PRICE
    assert others.status_code == 404
    assert server.http.delete("/chat/sessions/visit:7.a_b-c", headers={"X-API-Key": key}).status_code == 204
    assert server.http.get("/chat/sessions/visit:7.a_b-c", headers={"X-API-Key": key}).status_code == 404


def test_feedback_is_kept_with_its_key(server: ChatServer, key: str, module_database_url: str) -> None:
    request = server.chat(key, PRICE).json()["request_id"]
    for rating in ("down", "up"):
        body = {"request_id": request, "rating": rating, "comment": "so"}
        answer = server.http.post("/chat/feedback", json=body, headers={"X-API-Key": key})
        assert (answer.status_code, answer.content) == (204, b"")

    with psycopg.connect(module_database_url) as connection:
        kept = connection.execute(
            "SELECT rating, comment FROM chat.feedback WHERE request_id = %s", [request]
        ).fetchall()
    assert kept == [(1, "so")]
    wrong = server.http.post("/chat/feedback", json={"request_id": request, "rating": "5"}, headers={"X-API-Key": key})
    assert wrong.status_code == 422


def test_the_walk_of_the_page_goes_as_it_is_written(server: ChatServer) -> None:
    page = (ROOT / "docs" / "surfaces.md").read_text(encoding="utf-8")
    found = re.search(r"^## Chat$.*?^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    known = {"PATH": os.environ["PATH"], "CHAT": server.url, "ADMIN_TOKEN": TOKEN}
    script = f"set -e -o pipefail\n{found[1]}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=known, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert "$48 per year" in done.stdout
    assert '"messages":[{"role":"user"' in done.stdout


def test_the_command_line_administers_the_database_and_a_server_elsewhere(server: ChatServer, tmp_path: Path) -> None:
    file = tmp_path / "pairs.json"
    file.write_text(json.dumps([{"question": "Where is the ferry?", "answer": "The ferry is at the old quay."}]))
    remote = ("--admin-url", server.url, "--admin-token", TOKEN)
    run = server.program.run_command
    for place, name in (((), "ferry-here"), (remote, "ferry-there")):
        run("collection", "import-qa", name, str(file), *place)
        made = run("keys", "create", "tests", "--collection", name, *place).split()[0]
        assert "old quay" in server.chat(made, "Where is the ferry?").json()["response"]
        assert "may be used" in run("keys", "test", made, *place)
        assert f"{made[:6]}***" in run("keys", "list", *place)
        run("keys", "deactivate", made, *place)
        assert server.chat(made, "Where is the ferry?").status_code == 401


def test_a_collection_of_chroma_is_copied(server: ChatServer) -> None:
    records = {"ids": ["p1", "d/1"], "documents": [None, "The smithy opens at seven."], "metadatas": [PAIR, None]}
    routes = {
        ("GET", "/api/v1/collections/forge"): {"id": "c1"},
        ("POST", "/api/v1/collections/c1/get"): records,
    }
    with answering(routes) as url:
        server.program.run_command("collection", "import-chroma", url, "forge")
    key = server.key("forge")

    assert "anvil" in server.chat(key, PAIR["question"]).json()["response"]
    answered(server, key, "When does the smithy open?", "seven")


PAIR = {"question": "What is the oldest tool of the smithy?", "answer": "The oldest tool is an anvil of 1790."}


@contextmanager
def answering(routes: Mapping[tuple[str, str], Any]) -> Iterator[str]:
    """A server that answers so, and 404 to everything else."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            found = routes.get((self.command, self.path))
            body = json.dumps(found or {}).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    served = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{served.server_port}"
    finally:
        served.shutdown()
        served.server_close()
