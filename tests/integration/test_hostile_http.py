# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole OpenAPI document of the running program, with what nobody would send: no 5xx, no hang, no inner matters."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import hypothesis.errors
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given
from schemathesis import GenerationMode

from context_chat_backend import config
from context_chat_backend.domain import KeyScope
from context_chat_backend.web.app import ROUTERS, build_app
from context_chat_backend.web.openapi import described
from context_chat_backend.wiring import Backend
from tests.ports import free_port
from tests.program import ROOT, SECRET, Program, headers

FEW, MANY = 4, 100
SECONDS = 20
ADMINISTRATOR = "the token of administrators"
SURFACES = tuple(surface for surface in ROUTERS if surface != "redirect")  # it answers whatever is asked alike
INNER = ("Traceback", 'File "', "psycopg", "SELECT ", "INSERT INTO", "site-packages", ".py", "asyncio", "pydantic.dev")


def document() -> dict[str, Any]:
    """What a listener with everything describes; only its routes count here."""
    with tempfile.TemporaryDirectory() as folder:
        settings = config.load({"APP_PERSISTENT_STORAGE": folder}, cores=1)
        return described(build_app(Backend(settings), surfaces=SURFACES))


OPERATIONS = [(method.upper(), path) for path, methods in document()["paths"].items() for method in methods]


class Hostile:
    """The program with all its surfaces at one port, and whoever may call them."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=SECONDS)
        found = self.client.get("/openapi.json")
        assert found.status_code == 200, found.text
        self.document = found.json()
        self.schema = schemathesis.openapi.from_dict(self.document)
        program.run_command("collections", "add", "town")
        added = program.run_command(
            "keys", "add", "tests", "--collection", "town",
            *(word for scope in KeyScope for word in ("--scope", str(scope))), "--json",
        )  # fmt: skip
        self.key = str(json.loads(added)["api_key"])

    def headers(self, method: str, path: str) -> dict[str, str]:
        """Those of somebody who may call the route."""
        if path.startswith("/admin/"):
            return {"X-Admin-Token": ADMINISTRATOR}
        if path.startswith("/api/v1/"):
            return {}  # in development everybody plans
        needed = self.document["paths"][path][method.lower()].get("security", [])
        return headers() if {"nextcloud": []} in needed else {"Authorization": f"Bearer {self.key}"}

    def check(self, method: str, path: str, status: int, text: str) -> None:
        """No fault of ours, and nothing of the inside."""
        assert status < 500 or (path == "/health" and status == 503), f"{method} {path}: {status} {text[:500]}"
        if path != "/docs" and path != "/openapi.json" and not (path == "/downloadLogs" and status == 200):
            told = [
                word
                for word in (*INNER, str(self.program.storage), str(ROOT), SECRET, ADMINISTRATOR, self.key)
                if word in text
            ]
            assert told == [], f"{method} {path}: {text[:500]}"
        if path == "/enabled" and method == "PUT":
            self.program.client.put("/enabled?enabled=1")


@pytest.fixture(scope="module")
def hostile(module_storage: Path, module_database_url: str) -> Iterator[Hostile]:
    port = free_port()
    (module_storage / "config.yaml").write_text(
        "environment: development\nembedding:\n  hashing:\nllm:\n  extractive:\n"
        "chatqna:\n  requests_per_minute: 1000000\n"
        "limits:\n  program_body_bytes: 100000\n  document_body_bytes: 200000\n  planner_body_bytes: 100000\n"
        "  chat_body_bytes: 100000\n  import_body_bytes: 100000\n"
        f"listeners:\n  - port: {port}\n    surfaces: [{', '.join(SURFACES)}]\n",
        encoding="utf-8",
    )
    with Program(
        module_storage, {"CCB_DB_URL": module_database_url, "ADMIN_TOKEN": ADMINISTRATOR}, forked=True
    ) as program:
        hostile = Hostile(program, port)
        yield hostile
        hostile.client.close()
        assert "Traceback" not in program.output()


def _bytes(value: str | bytes) -> bytes:
    return (value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")).strip()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/admin/api-keys/deactivate", {"api_key": "\x00"}),
        ("POST", "/admin/api-keys/deactivate", {"api_key": "\ud800"}),
        ("POST", "/admin/api-keys", {"client_name": "t", "daily_limit": 10**30}),
        ("DELETE", "/admin/api-keys/%00", None),
        ("POST", "/admin/api-keys/%00/rotate", None),
        ("GET", "/admin/api-keys/%00/status", None),
        ("DELETE", "/admin/collections/%00", None),
        ("DELETE", "/chat/sessions/%00", None),
        ("GET", "/v1/conversations/%00", None),
        ("GET", "/v1/documents/%00", None),
        ("DELETE", "/v1/documents/collection__town:%20%00", None),
        ("GET", "/tokenizer/%00", None),
        ("GET", "/.well-known/acme-challenge/%00", None),
        ("GET", "/.well-known/acme-challenge/..%2f..%2fetc%2fpasswd", None),
    ],
)
def test_what_no_database_can_hold_is_no_fault(hostile: Hostile, method: str, path: str, body: Any) -> None:
    signed = {"X-Admin-Token": ADMINISTRATOR} if "/admin/" in path else {"Authorization": f"Bearer {hostile.key}"}
    content = None if body is None else json.dumps(body)
    kind = {"Content-Type": "application/json"}
    answer = hostile.client.request(method, path, content=content, headers=signed | kind)
    hostile.check(method, path, answer.status_code, answer.text)
    assert answer.status_code >= 400 or not answer.json()["exists"]


def _send(hostile: Hostile, method: str, path: str, times: int, mode: GenerationMode) -> None:
    operation = hostile.schema[path][method]
    signed = hostile.headers(method, path)

    @hypothesis.settings(
        max_examples=times, derandomize=True, deadline=None, database=None,
        phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        told = requests.Request(**case.as_transport_kwargs(base_url=hostile.url, headers=signed)).prepare()
        sent = [(name.encode("latin-1", "replace"), _bytes(value)) for name, value in told.headers.items()]
        body = told.body if isinstance(told.body, (str, bytes)) else None
        # by another client: that of schemathesis does not get along with Nextcloud's
        answer = hostile.client.request(told.method or method, told.url or "", content=body, headers=sent)
        hostile.check(method, path, answer.status_code, answer.text)

    with suppress(hypothesis.errors.Unsatisfiable):  # of some routes nothing can be wrong
        send()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_a_few_odd_requests_of_each_kind(hostile: Hostile, method: str, path: str, mode: GenerationMode) -> None:
    _send(hostile, method, path, FEW, mode)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_many_odd_requests_of_each_kind(hostile: Hostile, method: str, path: str, mode: GenerationMode) -> None:
    _send(hostile, method, path, MANY, mode)
