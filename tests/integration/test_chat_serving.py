# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the chat server is reached: HTTPS, several processes, limits, health, and its start script."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from context_chat_backend.cli.certificates import Certificate
from context_chat_backend.domain import Collection
from context_chat_backend.errors import StartError
from context_chat_backend.settings.listeners import Tls
from tests.chat import NO_JUDGE, QUOTING, UNLIMITED, ChatServer, chatting
from tests.ports import free_port
from tests.program import ROOT, Program
from tests.waiting import until

PAIRS = [{"question": "Where is the pump?", "answer": "The pump is behind the mill."}]


def certificate(folder: Path, *, days: int = 30, password: bytes | None = None) -> Tls:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return Tls(folder / "cert.pem", folder / "key.pem")


def serial_shown(port: int) -> int:
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


@pytest.fixture
def secure(storage: Path, database_url: str) -> Iterator[tuple[ChatServer, int]]:
    tls = certificate(storage / "tls")
    (storage / "acme").mkdir()
    (storage / "acme" / "tok_1").write_text("tok_1.print")
    (storage / "acme" / "linked").symlink_to(tls.key_file)
    port = free_port()
    lines = (
        f"{QUOTING}{NO_JUDGE}general:\n  host: 127.0.0.1\n  port: PORT\n  https:\n"
        f"    enabled: 'yes'\n    port: {port}\n"
        f"    cert_file: {tls.cert_file}\n    key_file: {tls.key_file}\n    acme_challenge_dir: {storage / 'acme'}\n"
    )
    with chatting(storage, database_url, lines) as server:
        yield server, port


def test_21_22_https_shows_a_renewed_certificate_and_the_open_port_sends_there(
    secure: tuple[ChatServer, int], storage: Path
) -> None:
    server, port = secure
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=False) as client:
        assert client.get("/health").status_code == 200
        assert client.post("/chat", json={"message": "x"}).status_code == 401
    assert server.http.get("/health").status_code == 200
    moved = server.http.post("/chat?a=b", json={"message": "x"})
    assert (moved.status_code, moved.headers["location"]) == (308, f"https://127.0.0.1:{port}/chat?a=b")

    answer = server.http.get("/.well-known/acme-challenge/tok_1")
    assert (answer.status_code, answer.text) == (200, "tok_1.print")
    assert answer.headers["content-type"].startswith("text/plain")
    for path in ("..%2fconfig.yaml", "a/b", "%2e%2e/config.yaml", "linked", "x" * 129, "missing", ""):
        assert server.http.get(f"/.well-known/acme-challenge/{path}").status_code == 404, path

    first = serial_shown(port)
    (storage / "tls" / "cert.pem").write_text("nothing")
    until(lambda: "certificate_not_renewed" in server.program.output())
    assert serial_shown(port) == first
    certificate(storage / "tls")
    until(lambda: serial_shown(port) != first)


def _missing(tls: Tls) -> Tls:
    tls.key_file.unlink()
    return tls


def _of_another(tls: Tls) -> Tls:
    return Tls(tls.cert_file, certificate(tls.cert_file.parent / "other").key_file)


def _garbage(tls: Tls) -> Tls:
    tls.cert_file.write_text("nothing")
    return tls


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_missing, r"key\.pem cannot be read \(No such file"),
        (_of_another, "it is no key of"),
        (_garbage, "expected a certificate in PEM"),
        (lambda tls: certificate(tls.cert_file.parent, days=-1), r"it expired on \d{4}-"),
        (lambda tls: certificate(tls.cert_file.parent, password=b"secret"), "key_password does not open it"),
    ],
)
def test_21_a_certificate_that_cannot_be_used_stops_the_start(
    tmp_path: Path, spoil: Callable[[Tls], Tls], said: str
) -> None:
    with pytest.raises(StartError, match=said):
        Certificate(spoil(certificate(tmp_path / "tls")))


def test_a_key_is_opened_by_its_password(tmp_path: Path) -> None:
    tls = certificate(tmp_path / "tls", password=b"secret")

    assert Certificate(Tls(tls.cert_file, tls.key_file, "secret")).context.cert_store_stats()


def test_21_the_program_does_not_start_with_such_a_certificate(storage: Path, database_url: str) -> None:
    tls = certificate(storage / "tls", days=-1)
    (storage / "config.yaml").write_text(
        f"{QUOTING}listeners:\n  - port: {free_port()}\n    surfaces: [chat]\n    tls: {{cert_file: {tls.cert_file}, "
        f"key_file: {tls.key_file}}}\n"
    )
    program = Program(storage, {"CCB_DB_URL": database_url})
    with pytest.raises(AssertionError, match="it expired on"):
        program.start()
    assert program.process is not None
    assert program.process.wait(60) == 3


def test_23_the_start_script_tells_how_it_is_used() -> None:
    done = subprocess.run([ROOT / "start.sh", "--bogus"], capture_output=True, text=True, timeout=60)

    assert done.returncode == 1
    assert done.stderr.startswith("usage: start.sh [--host=")


@pytest.mark.slow
def test_23_several_processes_have_keys_and_answers_in_common(storage: Path, database_url: str) -> None:
    port = free_port()
    file = storage / "chat.yaml"
    file.write_text(f"{QUOTING}{NO_JUDGE}{UNLIMITED}general:\n  host: 127.0.0.1\n  port: 1\n")
    program = Program(storage, {"CCB_DB_URL": database_url, "ADMIN_TOKEN": "token-of-the-administrators"})
    log = (storage / "output.log").open("ab")
    command = [str(ROOT / "start.sh"), f"--port={port}", "--workers=2", f"--config={file}"]
    with log, subprocess.Popen(command, env=program.environment, stdout=log, stderr=log) as process:
        try:
            server = ChatServer(program, port)
            until(lambda: program.output().count('"event": "ready"') >= 2)
            server.collection("mill", PAIRS)
            made = server.admin("POST", "/api-keys", {"collection_name": "mill", "client_name": "t"}).json()
            for _ in range(20):  # each on a connection of its own, which either process takes
                server.http = httpx.Client(base_url=server.url, timeout=30)
                assert "mill" in server.chat(made["api_key"], "Where is the pump?").json()["response"]
                assert server.admin("GET", f"/api-keys/{made['id']}/status").json()["active"]
            server.admin("POST", "/api-keys/deactivate", {"api_key": made["id"]})
            for _ in range(10):
                server.http = httpx.Client(base_url=server.url, timeout=30)
                assert server.chat(made["api_key"], "Where is the pump?").status_code == 401
            until(lambda: len(server.records()) == 20)
            keys = {record["api_key"]["id"] for record in server.records()}
            assert keys == {made["id"]}
        finally:
            process.terminate()
            assert process.wait(30) == 0
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))  # no worker is left


PAGE = "https://town.example"


@pytest.fixture(scope="module")
def openly(module_storage: Path, module_database_url: str) -> Iterator[ChatServer]:
    """One that is asked without a key, from a page elsewhere, and tells of its health to keys alone."""
    lines = (
        "chroma: {collection: mill}\napi_keys: {allow_default: true, require_for_health: true}\n"
        f"server: {{cors_origins: ['{PAGE}']}}\n"
    )
    with chatting(module_storage, module_database_url, QUOTING + NO_JUDGE + lines) as server:
        server.collection("mill", PAIRS)
        yield server


def test_who_asks_without_a_key_reads_the_default_collection_and_no_other(openly: ChatServer) -> None:
    openly.collection("harbour", [{"question": "Where is the crane?", "answer": "The crane is on the quay."}])
    told = [openly.chat(None, question).json()["sources"] for question in ("Where is the pump?", "Where is the crane?")]
    refused = openly.chat("api_wrong", "Where is the pump?")

    assert told[0][0]["title"] == "Where is the pump?"
    assert {source["id"].partition(": ")[0] for sources in told for source in sources} == {"collection__mill"}
    assert refused.status_code == 401


def test_health_is_told_to_keys_alone_where_that_is_wanted(openly: ChatServer) -> None:
    key = {"X-API-Key": openly.key("mill")}
    statuses = [openly.http.get(path).status_code for path in ("/health", "/health/live", "/health/ready")]
    with_key = openly.http.get("/health", headers=key).status_code
    with_wrong_key = openly.http.get("/health", headers={"X-API-Key": "api_wrong"}).status_code

    assert statuses == [401, 200, 200]
    assert (with_key, with_wrong_key) == (200, 401)


def test_a_page_may_ask_where_its_place_is_named(openly: ChatServer) -> None:
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key, Content-Type"}
    allowed = openly.http.options("/chat", headers={"Origin": PAGE} | wish)
    refused = openly.http.options("/chat", headers={"Origin": "https://elsewhere.example"} | wish)
    asked = openly.chat(None, "Where is the pump?", headers={"Origin": PAGE})
    without_key = openly.http.post("/chat", json={}, headers={"Origin": PAGE, "X-API-Key": "api_wrong"})

    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    assert "X-API-Key" in allowed.headers["Access-Control-Allow-Headers"]
    assert refused.status_code == 400
    assert "Access-Control-Allow-Origin" not in refused.headers
    assert asked.headers["Access-Control-Allow-Origin"] == PAGE
    assert without_key.headers["Access-Control-Allow-Origin"] == PAGE


def test_who_asks_without_a_key_has_no_session(openly: ChatServer, module_database_url: str) -> None:
    asker = Collection("mill").itself
    own = {"X-API-Key": openly.key("mill")}
    said = openly.chat(None, "When does the mill grind?", session_id="1")
    kept = openly.chat(own["X-API-Key"], "When does the mill grind?", session_id="1")
    refused = [openly.http.request(method, "/chat/sessions/1") for method in ("GET", "DELETE")]
    feedback = {"request_id": said.json()["request_id"], "rating": "up"}
    refused.append(openly.http.post("/chat/feedback", json=feedback))
    with psycopg.connect(module_database_url) as connection:
        for name, value in (("realm", str(asker.realm)), ("name", asker.name)):
            connection.execute("SELECT set_config('context_chat.' || %s, %s, false)", [name, value])
        conversations = connection.execute("SELECT count(*) FROM chat.conversations").fetchone()

    assert (said.status_code, said.json()["session_id"]) == (200, None)
    assert kept.json()["session_id"] == "1"
    assert [(one.status_code, one.json()["error"]["code"]) for one in refused] == [(403, "scope_not_allowed")] * 3
    assert conversations == (1,)
    assert openly.http.get("/chat/sessions/1", headers=own).status_code == 200


def test_25_an_address_asks_so_often_in_a_minute(storage: Path, database_url: str) -> None:
    limits = (
        "rate_limits: {ip_per_minute: 20, key_per_minute: 8, key_daily: 30}\nserver: {trusted_proxies: [127.0.0.1]}\n"
    )
    with chatting(storage, database_url, QUOTING + NO_JUDGE, limits=limits) as server:
        server.collection("mill")
        key = server.key("mill")
        own, other = (server.key("mill", rate_limit_per_minute=100) for _ in range(2))
        if datetime.now(UTC).second > 45:  # all of it has to fall into one minute
            time.sleep(61 - datetime.now(UTC).second)

        def ask(key: str, address: str) -> httpx.Response:
            return server.chat(key, "x", headers={"X-Forwarded-For": f"10.0.0.1, {address}"})

        def elsewhere(method: str, path: str, key: str, address: str, body: Any = None) -> httpx.Response:
            headers = {"X-Forwarded-For": address, "X-API-Key": key}
            return server.http.request(method, path, json=body, headers=headers)

        by_key = [ask(key, f"192.0.2.{number}") for number in range(9)]
        by_address = [ask(own, "198.51.100.1") for _ in range(21)]
        by_models = [elsewhere("GET", "/v1/models", other, "198.51.100.2") for _ in range(21)]
        question = {"model": "", "messages": [{"role": "user", "content": "x"}]}
        also = [
            elsewhere("POST", path, one, address, body)
            for one, address in ((key, "192.0.2.99"), (own, "198.51.100.1"), (other, "198.51.100.2"))
            for path, body in (("/v1/chat/completions", question), ("/v1/embeddings", {"input": "x"}))
        ]

        assert [answer.status_code for answer in by_key] == [200] * 8 + [429]
        assert [answer.status_code for answer in by_address] == [200] * 20 + [429]
        assert [answer.status_code for answer in by_models] == [200] * 20 + [429]
        assert [answer.status_code for answer in also] == [429] * 6
        for answer in (by_key[-1], by_address[-1], by_models[-1], *also):
            assert answer.json()["error"]["code"] == "rate_limited"
            assert 0 < int(answer.headers["Retry-After"]) <= 60
            assert answer.headers["X-RateLimit-Remaining"] == "0"
        assert by_address[-1].headers["X-RateLimit-Limit"] == "20"


@pytest.mark.slow
def test_17_health_names_what_does_not_answer_and_no_password(storage: Path, new_database_url: str) -> None:
    url = new_database_url
    with chatting(storage, url, QUOTING + NO_JUDGE) as server:
        well = server.http.get("/health")
        assert (well.status_code, well.json()["status"]) == (200, "ok")
        assert set(well.json()["components"]) == {"server", "chroma", "vector_store", "llm"}
        name = url.rpartition("/")[2].partition("?")[0]
        with psycopg.connect(url.replace(f"/{name}", "/postgres"), autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            until(lambda: server.http.get("/health/ready").status_code == 503)
            assert server.http.get("/health").json() == well.json()  # as it was a moment ago
            assert server.http.get("/health/live").status_code == 200
            until(lambda: server.http.get("/health").status_code == 503, 45)
            ill = server.http.get("/health").json()
            connection.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')

        assert ill["status"] == "error"
        assert ill["components"]["chroma"] == ill["components"]["vector_store"]
        assert ill["components"]["chroma"]["status"] == "error"
        assert not re.search("postgres|password|@", str(ill))
        asked = server.chat("api_" + "x" * 32, "x")
        assert asked.status_code in (401, 503)
