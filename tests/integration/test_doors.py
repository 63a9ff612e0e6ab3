# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every route of the running program, asked with every kind of credential: who is let in stands in tests/doors.py."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jwt
import pytest

from context_chat_backend.domain import Collection, KeyScope, Principal, Realm
from context_chat_backend.settings.listeners import SURFACES
from context_chat_backend.store.database import Database
from context_chat_backend.store.keys import Keys
from tests.doors import DOORS, Credential, Outcome, door_of, routes_at
from tests.ports import free_port
from tests.program import Program, headers

ADMIN_TOKEN = "token-of-administrators-4711"
TOKEN_SECRET = "a secret of an issuer of the tests, long enough"
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")


class House:
    """The program with a listener for each surface, and somebody with each credential."""

    def __init__(self, program: Program, ports: dict[str, int], sent: dict[Credential, dict[str, str]]) -> None:
        self.program = program
        self.sent = sent
        self.clients = {
            surface: httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) for surface, port in ports.items()
        }

    def ask(self, surface: str, method: str, path: str, credential: Credential) -> httpx.Response:
        """A request with an empty body of JSON, which hardly a route takes for something to do.

        A token for ChatQnA may stand in the body, so that this has to be one.
        """
        body = None if method in ("GET", "HEAD", "OPTIONS", "TRACE") else "{}"
        if path == "/v1/chatqna":
            body = '{"messages": "x"}'
        sent = {"Content-Type": "application/json"} | self.sent[credential]
        return self.clients[surface].request(method, path, content=body, headers=sent)


@pytest.fixture(scope="module")
def house(module_storage: Path, module_database_url: str) -> Iterator[House]:
    ports = {surface: free_port() for surface in SURFACES if surface != "nextcloud"}
    listeners = "".join(f"  - {{port: {port}, surfaces: [{surface}]}}\n" for surface, port in ports.items())
    limits = "rate_limits: {ip_per_minute: 1000000, key_per_minute: 1000000}\n"
    (module_storage / "config.yaml").write_text(
        f"{limits}embedding:\n  hashing:\nllm:\n  extractive:\nrefusals_per_minute: 100000\n"
        f"chatqna:\n  requests_per_minute: 100000\n"
        f"jwt:\n  - {{issuer: 'https://id.example', audience: here, secret: '{TOKEN_SECRET}', users: local}}\n"
        f"listeners:\n{listeners}",
        encoding="utf-8",
    )
    sent = asyncio.run(credentials(module_database_url))
    with Program(
        module_storage, {"CCB_DB_URL": module_database_url, "ADMIN_TOKEN": ADMIN_TOKEN}, forked=True
    ) as program:
        house = House(program, {"nextcloud": program.port} | ports, sent)
        yield house
        for client in house.clients.values():
            client.close()


async def credentials(database_url: str) -> dict[Credential, dict[str, str]]:
    """What each sends in its headers."""
    database = Database(database_url)
    await database.open()
    keys = Keys(database)
    alice, town = Principal(Realm.LOCAL, "alice"), [Collection("town")]

    async def key(
        scope: KeyScope, user: Principal | None = alice, end: datetime | None = None
    ) -> tuple[dict[str, str], str]:
        text, made = await keys.add(
            "tests", user=user, collections=() if user else town, scopes=[scope], expires_at=end
        )
        return bearer(text), made.id

    def bearer(text: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {text}"}

    def token(issuer: str = "https://id.example", minutes: int = 5) -> dict[str, str]:
        claims = {"iss": issuer, "aud": "here", "sub": "alice", "exp": datetime.now(UTC) + timedelta(minutes=minutes)}
        return bearer(jwt.encode(claims, TOKEN_SECRET))

    (chat, _), (embedding, _) = await key(KeyScope.CHAT), await key(KeyScope.EMBEDDING)
    completion, _ = await key(KeyScope.COMPLETION)
    (ingest, _), (revoked, revoked_id) = await key(KeyScope.INGEST, None), await key(KeyScope.CHAT)
    expired, _ = await key(KeyScope.CHAT, end=datetime.now(UTC) - timedelta(seconds=1))
    assert await keys.revoke(revoked_id)
    await database.close()
    return {
        Credential.NOTHING: {},
        Credential.SYSTEM: headers(),
        Credential.USER: headers(user="alice"),
        Credential.WRONG_SECRET: headers("guessed"),
        Credential.ADMINISTRATOR: bearer(ADMIN_TOKEN),
        Credential.WRONG_ADMINISTRATOR: bearer(ADMIN_TOKEN[:-1]),
        Credential.CHAT_KEY: chat,
        Credential.EMBEDDING_KEY: embedding,
        Credential.COMPLETION_KEY: completion,
        Credential.INGEST_KEY: ingest,
        Credential.UNKNOWN_KEY: bearer("api_" + "x" * 32),
        Credential.REVOKED_KEY: revoked,
        Credential.EXPIRED_KEY: expired,
        Credential.TOKEN: token(),
        Credential.EXPIRED_TOKEN: token(minutes=-5),
        Credential.FOREIGN_TOKEN: token(issuer="https://evil.example"),
    }


def outcome(answer: httpx.Response) -> Outcome:
    if answer.status_code == 401:
        return Outcome.UNKNOWN
    if answer.status_code == 403 and answer.json()["error"]["code"] == "scope_not_allowed":
        return Outcome.NOT_MADE_FOR_IT
    assert answer.status_code < 500 or answer.url.path == "/health", answer.text  # it tells of empty catalogues
    assert answer.status_code != 405
    return Outcome.LET_IN


def filled(path: str) -> str:
    """A path with ids of things that are not there."""
    return path.replace("{conversation}", f"conv_{uuid.uuid4().hex}").replace("{document_id}", "collection__town: 1")


@pytest.mark.parametrize("surface", SURFACES)
def test_each_route_lets_in_whom_the_table_names_and_nobody_else(house: House, surface: str) -> None:
    wrong = [
        f"{method} {path} with {credential}: {met}, not {wanted}"
        for method, path in sorted(routes_at(surface))
        for credential in Credential
        if (met := outcome(house.ask(surface, method, filled(path), credential)))
        is not (wanted := door_of(surface, method, path).get(credential, Outcome.UNKNOWN))
    ]
    assert wrong == []


@pytest.mark.parametrize("surface", SURFACES)
def test_what_a_listener_does_not_serve_is_not_there_for_anybody(house: House, surface: str) -> None:
    served = routes_at(surface)
    paths = {path for _, path in served}
    there = [
        f"{method} {path}: {status}"
        for path in sorted({path for _, path in DOORS} | {"/everything", "/docs/", "/openapi.json/"})
        for method in METHODS
        if (method, path) not in served
        if (status := house.ask(surface, method, filled(path), Credential.SYSTEM).status_code)
        not in ((401, 404, 405) if path in paths else (404,))
    ]
    assert there == []


def test_a_refusal_says_nothing_but_that_it_is_one(house: House) -> None:
    """The same bytes whatever was wrong, and none of what was sent."""
    refused = (Credential.NOTHING, Credential.WRONG_SECRET, Credential.CHAT_KEY, Credential.ADMINISTRATOR)
    bodies = {house.ask("nextcloud", "POST", "/query", one).content for one in refused}
    assert bodies == {b'{"error":"not authenticated"}'}

    keys = (Credential.UNKNOWN_KEY, Credential.REVOKED_KEY, Credential.EXPIRED_KEY)
    errors = [house.ask("openai", "GET", "/v1/models", one).json()["error"] for one in keys]
    assert errors[0] == errors[1] == errors[2]
