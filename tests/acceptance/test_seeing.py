# SPDX-License-Identifier: AGPL-3.0-or-later
"""A life with much that goes wrong is seen by whoever operates the program, and none of its words and secrets are."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import httpx
import psycopg
import pytest
from psycopg import sql

from context_chat_backend.store.embedded import DATABASE, EmbeddedPostgres
from tests import commands
from tests.hostile import deep_json, word
from tests.installation import prepare, register
from tests.nextcloud_double.process import CHAT, SEARCH, Nextcloud
from tests.program import ROOT, SECRET, Program, headers, part

TOKEN = "token-of-administrators-4711"
MODEL_KEY = "key-of-the-model-server-0815"
LOGIN = "login-of-the-model-server-1234"
RERANKER_KEY = "key-of-the-reranker-5678"
JWT_SECRET = "secret-of-the-issuer-of-tokens-0123456789"
SECRETS = [
    SECRET,
    TOKEN,
    MODEL_KEY,
    LOGIN,
    RERANKER_KEY,
    JWT_SECRET,
    "guessed-secret-of-a-stranger",
    "key_nobody_has_9876",
]
WORDS = {
    "text": "The heron nests behind the crooked windmill",
    "title": "Quarrel with the neighbours",
    "question": "Who quarrels about the crooked windmill",
    "broken": "zebrafish in a broken document",
    "invalid": "flamingo in a request that is none",
    "card": "pangolin on a card",
    "chat": "armadillo without documents",
    "path": "wolverine-in-a-path",
}
"""What users write; each is looked for by its first two long words."""
CONFIGURATION = """
embedding:
  onnx:
llm:
  openai:
    base_url: http://127.0.0.1:{port}/v1
    model: m
    api_key: {model_key}
log_level: debug
audit_log: true
traces: http://127.0.0.1:{port}/v1/traces
llm_fallback:
  extractive:
reranker:
  remote:
    base_url: http://me:{login}@127.0.0.1:{port}/v1
    api_key: {reranker_key}
"""


class Servers(BaseHTTPRequestHandler):
    """A collector of traces; and models in trouble, which answer with all they were told."""

    traces: ClassVar[list[bytes]] = []
    echoed: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            self.traces.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            status, said = 200, b""
        else:
            told = {"prompt": body.decode(), "headers": dict(self.headers.items()), "path": self.path}
            status, said = 500, json.dumps({"error": {"message": json.dumps(told)}}).encode()
            self.echoed.append(said)
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Servers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def nextcloud() -> Iterator[Nextcloud]:
    with Nextcloud() as running:
        running.do("add_users", names=["alice", "bob"])
        yield running


@pytest.fixture(scope="module")
def program(nextcloud: Nextcloud, module_storage: Path, port: int) -> Iterator[Program]:
    """With the embedded database and the model process; their addresses and keys are secrets."""
    environment = {"ADMIN_TOKEN": TOKEN, "OTEL_BSP_SCHEDULE_DELAY": "200", "SUPABASE_JWT_SECRET": JWT_SECRET}
    running = prepare(nextcloud, module_storage, "", llm="extractive", environment=environment)
    (module_storage / "config.yaml").write_text(
        CONFIGURATION.format(port=port, login=LOGIN, model_key=MODEL_KEY, reranker_key=RERANKER_KEY)
    )
    try:
        running.start(enable=False)
        yield running
    finally:
        running.stop()
        running.client.close()


@pytest.fixture(scope="module")
def lived(nextcloud: Nextcloud, program: Program) -> Program:
    """The program after a life in which much went wrong."""
    nextcloud.do("put_file", path=f"{WORDS['title']}.txt", readers=["alice", "bob"], text=WORDS["text"])
    nextcloud.do("put_file", path="copy.txt", readers=["alice"], text=WORDS["text"])
    hidden = nextcloud.do("put_file", path="secret.txt", readers=["alice"], text=f"{WORDS['text']}, says bob")
    for name, body in (
        ("broken.pdf", b"%PDF-1.7\n" + WORDS["broken"].encode()),
        ("broken.docx", word(WORDS["broken"])[:-40]),
        ("deep.json", deep_json()),
        ("empty.txt", b""),
    ):
        encoded = base64.b64encode(body).decode()
        nextcloud.do("put_file", path=f"{WORDS['title']}/{name}", readers=["alice"], body=encoded)
    card = {"provider": "deck__cards", "item": "7", "title": WORDS["title"], "content": WORDS["card"]}
    nextcloud.do("submit", **card, readers=["alice"])
    odd = {"userIds": ["alice"], "reference": WORDS["invalid"], "modified": WORDS["invalid"], "type": WORDS["invalid"]}
    nextcloud.do("enqueue_document", queue="content", payload={**odd, "provider": WORDS["invalid"], "content": "x"})
    nextcloud.do("enqueue_action", kind=WORDS["invalid"], payload={"sourceId": WORDS["invalid"]})
    register(nextcloud, program)
    nextcloud.wait(nextcloud.queues_are_empty, 60)
    nextcloud.wait(lambda: len(program.search("alice", "heron windmill")) >= 3, 60)

    nextcloud.do("unshare", file_id=hidden, users=["alice"])
    for task in (
        nextcloud.schedule(CHAT, "alice", WORDS["question"]),
        nextcloud.schedule(SEARCH, "alice", WORDS["question"], limit=5),
        nextcloud.schedule(CHAT, "bob", WORDS["question"], scopeType=WORDS["invalid"]),
    ):
        nextcloud.ended(task, 60)
    asked = {"query": WORDS["question"], "userId": "alice"}
    assert program.post("/query", asked)["sources"]
    program.post("/query", {"query": WORDS["chat"], "userId": "alice", "useContext": False})
    client = program.client
    client.post("/query", json={"query": WORDS["invalid"], "userId": "", "ctxLimit": WORDS["invalid"]})
    client.post("/query", content=WORDS["invalid"], headers={"Content-Type": "application/json"})
    client.post("/updateAccess", json={"op": WORDS["invalid"], "userIds": [], "sourceId": WORDS["invalid"]})
    client.get(f"/{quote(WORDS['path'])}?{quote(WORDS['path'])}")
    client.post(f"/{quote(WORDS['path'])}", json=asked)
    program.load(
        [part("files__default: 90", WORDS["broken"].encode(), title=WORDS["title"], modified=WORDS["invalid"])]
    )
    for wrong in (headers("guessed-secret-of-a-stranger"), {"Authorization": "Bearer key_nobody_has_9876"}):
        assert httpx.get(f"{client.base_url}/metrics", headers=wrong).status_code == 401
    nextcloud.wait(lambda: any("refused" in line["message"] for line in nextcloud.get("/log")))
    (program.storage / "forwarded.log").write_text(json.dumps(nextcloud.get("/log")))
    nextcloud.stop()
    program.post("/query", asked)
    return program


def metrics_of(program: Program) -> str:
    answer = httpx.get(f"{program.client.base_url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    return answer.text


def value(text: str, name: str) -> float:
    found = re.search(rf"^context_chat_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_what_happened_stands_in_the_metrics(lived: Program) -> None:
    text = metrics_of(lived)

    assert value(text, 'sources{state="indexed"}') >= 3  # one of four has lost its only reader
    assert value(text, 'sources{state="rejected"}') + value(text, 'sources{state="delayed"}') >= 2
    assert value(text, 'verdicts_total{reason="",verdict="indexed"}') >= 4
    assert value(text, 'embedded_chunks_total{origin="model"}') > 0
    assert value(text, 'answers_total{outcome="answered"}') >= 2
    assert value(text, 'model_failures_total{model="language"}') >= 1
    assert value(text, 'model_failures_total{model="reranking"}') >= 1
    assert value(text, 'rights_checks_total{outcome="answered"}') >= 1
    assert value(text, 'requests_total{route="/query",status="422"}') >= 1
    assert value(text, 'requests_total{route="none",status="404"}') == 2
    assert value(text, "first_word_seconds_count") >= 2
    for step in ("index", "read", "parse", "chunk", "embed", "put", "answer", "find", "search", "rerank", "recheck",
                 "embed_question", "prompt", "write", "wait"):  # fmt: skip
        assert value(text, f'step_seconds_count{{step="{step}"}}') > 0, step
    for gauge in ("ready", "database_up", "space_filled_ratio"):
        assert value(text, gauge) == 1
    for gauge in ("stored_chunks", "database_bytes", 'storage_bytes{state="free"}', 'log_lines_total{level="warning"}'):
        assert value(text, gauge) > 0


def test_users_do_not_read_them(lived: Program) -> None:
    for user in ("alice", "admin"):
        assert lived.client.get("/metrics", headers=headers(user=user)).status_code == 401
        assert lived.client.get("/status", headers=headers(user=user)).status_code == 401
    assert lived.client.get("/metrics").status_code == 200  # a call of the system


def test_the_audit_says_who_asked_and_which_sources_were_used(lived: Program) -> None:
    lines = (lived.storage / "audit" / "audit.log").read_text(encoding="utf-8").splitlines()
    noted = [json.loads(line) for line in lines]

    assert {line["kind"] for line in noted} == {"answer", "search", "chat"}
    answers = [line for line in noted if line["kind"] == "answer" and line["outcome"] == "answered"]
    assert answers
    assert all(line["user"] == "alice" and line["model"] == "extractive" for line in answers)
    assert all(set(line["cited"]) <= set(line["sources"]) and line["cited"] for line in answers)
    assert all(set(line) == {
        "timestamp", "kind", "realm", "user", "outcome", "sources", "cited", "model"
    } for line in noted)  # fmt: skip


def forms(text: str) -> set[bytes]:
    """A text as it may stand in a log: as it is, in JSON, in an address, in base64."""
    ways = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], quote(text), quote(text, "")}
    encoded = {base64.b64encode((before + text).encode()).decode()[4:-4] for before in ("", ":", "  ")}
    return {way.encode() for way in ways | encoded}


def words_of(text: str) -> set[str]:
    """Two long words of a sentence, together or alone: nothing else writes them."""
    long = [word for word in re.findall(r"\w+", text) if len(word) > 7][:2]
    return {text, *long} if long else {text}


def test_no_log_holds_what_users_wrote_or_a_secret(lived: Program) -> None:
    archive = zipfile.ZipFile(io.BytesIO(lived.client.get("/downloadLogs").content))
    logs = {f"downloaded {name}": archive.read(name) for name in archive.namelist()}
    places = [*(lived.storage / "logs").rglob("*"), *lived.storage.glob("*.log"), *(lived.storage / "audit").rglob("*")]
    logs |= {str(path): path.read_bytes() for path in places if path.is_file()}
    logs["metrics"] = metrics_of(lived).encode()
    logs["traces"] = b"".join(Servers.traces)
    assert {"downloaded ccb.log", "metrics"} <= set(logs)
    of = {"ccb.log", "output.log", "postgres.log", "audit.log", "forwarded.log"}
    assert of <= {Path(name).name for name in logs}
    assert all(log.strip() for log in logs.values())
    assert all(step.encode() in logs["traces"] for step in ("answer", "search", "rerank", "write", "parse", "embed"))
    echoed = b"".join(Servers.echoed)
    assert all(any(form in echoed for form in forms(one)) for one in (MODEL_KEY, LOGIN, WORDS["question"])), echoed
    assert len(logs["downloaded ccb.log"].splitlines()) > 30
    assert not [name for name in archive.namelist() if "audit" in name]

    planted = {form for secret in SECRETS for form in forms(secret)}
    planted |= {form for sentence in WORDS.values() for one in words_of(sentence) for form in forms(one)}
    found = [(name, text) for name, log in logs.items() for text in planted if text.lower() in log.lower()]
    assert found == []


def processes_of(program: Program) -> dict[int, list[bytes]]:
    """Arguments and environment of what the program has started, by process; it is told its own from outside."""
    assert program.process is not None
    parents, told = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            number = int(folder.name)
            parents[number] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            told[number] = [(folder / "cmdline").read_bytes()]
            told[number].append((folder / "environ").read_bytes())
    ours = {program.process.pid}
    while children := {number for number, parent in parents.items() if parent in ours} - ours:
        ours |= children
    ours |= {number for number, what in told.items() if os.fsencode(program.storage) in what[0]}  # the database
    started = {number: told[number] for number in ours if number in told}
    started[program.process.pid] = started[program.process.pid][:1]
    return started


def test_no_secret_stands_in_the_list_of_processes(lived: Program) -> None:
    """Everybody on a machine reads the arguments of all processes; the environment of each its user."""
    started = processes_of(lived)
    named = b"".join(arguments[0] for arguments in started.values())
    assert b"postgres" in named
    assert len(started) >= 4

    looked_for = {form for secret in [*SECRETS, *passwords_of(lived)] for form in forms(secret)}
    found = [(number, form) for number, what in started.items() for one in what for form in looked_for if form in one]
    assert found == []


def passwords_of(program: Program) -> list[str]:
    """Those of the embedded database."""
    passwords = [
        match.decode()
        for file in (program.storage / "postgres.superuser", program.storage / "postgres.program")
        for match in re.findall(rb"[\w-]{16,}", file.read_bytes())
    ]
    assert len(passwords) == 2
    return passwords


def rows_of(url: str) -> bytes:
    """All rows of all tables, those of the server itself too, as a dump by its superuser would hold them."""
    with psycopg.connect(url) as connection:
        connection.execute("SET bytea_output = 'escape'")
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE'"
        ).fetchall()
        assert ("pg_catalog", "pg_authid") in tables
        named = [sql.SQL("SELECT one::text FROM {} AS one").format(sql.Identifier(*table)) for table in tables]
        return "\n".join(row[0] for one in named for row in connection.execute(one).fetchall()).encode()


def test_no_secret_stands_in_a_backup_a_dump_or_what_commands_print(lived: Program, tmp_path: Path) -> None:
    key = json.loads(lived.run_command("keys", "add", "tests", "--user", "alice", "--json"))["api_key"]
    told = {
        " ".join(words): lived.run_command(*words).encode()
        for words in (("keys", "list", "--json"), ("status", "--json"), ("collections", "list", "--json"))
    }
    done = commands.run("doctor", environment=lived.environment)  # the language model is down
    told["doctor"] = (done.stdout + done.stderr).encode()
    told["/status"] = httpx.get(f"{lived.client.base_url}/status", headers={"Authorization": f"Bearer {TOKEN}"}).content
    lived.run_command("backup", str(tmp_path / "backup"))
    with zipfile.ZipFile(tmp_path / "backup") as archive:
        told |= {f"backup, {name}": archive.read(name) for name in archive.namelist()}
    server = EmbeddedPostgres(lived.storage)
    told["rows"] = rows_of(psycopg.conninfo.make_conninfo(server.superuser_url, dbname=DATABASE))
    assert WORDS["text"].encode() in told["rows"]
    assert b"SCRAM-SHA-256" in told["rows"]
    assert WORDS["text"].encode() in told["backup, tables/chunk_text"]

    secrets = [*SECRETS, *passwords_of(lived), key]
    looked_for = {form for secret in secrets for form in forms(secret)}
    assert [(name, form) for name, text in told.items() for form in looked_for if form in text] == []
    files: dict[str, bytes] = {}
    for path in (lived.storage / "postgres18").rglob("*"):
        with suppress(OSError):  # folders, sockets, and what goes while it is looked at
            files[str(path)] = path.read_bytes()
    assert len(files) > 100
    assert [(name, secret) for name, content in files.items() for secret in secrets if secret.encode() in content] == []


def test_the_log_is_lines_of_json_with_ids(lived: Program) -> None:
    lines = (lived.storage / "logs" / "ccb.log").read_text(encoding="utf-8").splitlines()
    told = [json.loads(line) for line in lines]

    assert all({"event", "level", "logger", "timestamp"} <= set(line) for line in told)
    assert {"source_indexed", "source_rejected", "language_model_unavailable", "not_authenticated"} <= {
        line["event"] for line in told
    }
    assert all("source_id" in line for line in told if line["event"] == "source_indexed")


def test_status_is_watched_on_a_terminal_until_it_is_interrupted(lived: Program) -> None:
    ours, theirs = pty.openpty()
    environment = lived.environment | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    command = [sys.executable, "main.py", "status", "--watch"]
    shown, is_interrupted = b"", False
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    ) as process:
        try:
            while process.poll() is None:  # what is written has to be read, or the program waits for its terminal
                if select.select([ours], [], [], 0.1)[0]:
                    shown += os.read(ours, 4096)
                if b"Ctrl-C ends" in shown and not is_interrupted:
                    process.send_signal(signal.SIGINT)
                    is_interrupted = True
        finally:
            process.kill()

    assert process.returncode == 0, shown
    for told in (b"indexed", b"rejected", b"chunks, database"):
        assert told in shown
