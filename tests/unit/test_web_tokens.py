# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom signed tokens name, by keys their issuer publishes; what is wrong with a token is tested over HTTP too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from context_chat_backend.domain import Principal
from context_chat_backend.errors import ConfigurationError, Unavailable
from context_chat_backend.settings.programs import Issuer
from context_chat_backend.web_tokens import TokenInvalid, WebTokens

KEYS = {kid: rsa.generate_private_key(public_exponent=65537, key_size=2048) for kid in ("old", "new")}


class Publishing:
    """An issuer's page of keys."""

    def __init__(self) -> None:
        self.published = ["old"]
        self.asked = 0
        self.is_up = True
        self.url = ""


@pytest.fixture
def publishing() -> Iterator[Publishing]:
    page = Publishing()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page.asked += 1
            keys = [
                json.loads(RSAAlgorithm.to_jwk(KEYS[kid].public_key())) | {"kid": kid, "use": "sig", "alg": "RS256"}
                for kid in page.published
            ]
            self.send_response(200 if page.is_up else 503)
            self.end_headers()
            self.wfile.write(json.dumps({"keys": keys}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        page.url = f"http://127.0.0.1:{server.server_port}/keys"
        Thread(target=server.serve_forever, daemon=True).start()
        yield page
        server.shutdown()


def issuer(url: str | None = None, **more: Any) -> Issuer:
    return Issuer("https://id.example", "context-chat", jwks_url=url, **more)


def token(kid: str, algorithm: str = "RS256", key: Any = None, **claims: Any) -> str:
    named = {"iss": "https://id.example", "aud": "context-chat", "exp": datetime.now(UTC) + timedelta(minutes=5)}
    return jwt.encode(named | {"sub": "alice"} | claims, key or KEYS[kid], algorithm, headers={"kid": kid})


async def test_published_keys_are_fetched_once_and_name_users_of_the_issuer(publishing: Publishing) -> None:
    tokens = WebTokens([issuer(publishing.url)])
    for _ in range(3):
        assert await tokens.principal(token("old")) == Principal("jwt:https://id.example", "alice")
    await tokens.close()

    assert publishing.asked == 1


async def test_a_key_that_is_not_published_is_not_asked_for_again_and_again(publishing: Publishing) -> None:
    tokens = WebTokens([issuer(publishing.url)])
    for _ in range(3):
        with pytest.raises(TokenInvalid):
            await tokens.principal(token("new"))
    await tokens.close()

    assert publishing.asked == 1


async def test_an_issuer_that_is_gone_is_said_to_be(publishing: Publishing) -> None:
    for url in ("http://127.0.0.1:1/keys", publishing.url.replace("/keys", ":0/keys")):
        tokens = WebTokens([issuer(url)])
        with pytest.raises(Unavailable):
            await tokens.principal(token("old"))
        await tokens.close()


async def test_an_issuer_that_is_gone_is_not_asked_at_every_token_and_its_keys_hold_for_a_day(
    publishing: Publishing,
) -> None:
    now = [0.0]
    tokens = WebTokens([issuer(publishing.url)], clock=lambda: now[0])
    await tokens.principal(token("old"))
    publishing.is_up = False
    now[0] = 3600.0
    for _ in range(3):
        assert await tokens.principal(token("old")) == Principal("jwt:https://id.example", "alice")
    asked_while_gone = publishing.asked - 1
    with pytest.raises(Unavailable):
        await tokens.principal(token("new"))
    now[0] = 25 * 3600.0
    with pytest.raises(Unavailable):
        await tokens.principal(token("old"))
    publishing.is_up = True
    now[0] += 60.0
    again = await tokens.principal(token("old"))
    await tokens.close()

    assert asked_while_gone == 1
    assert again == Principal("jwt:https://id.example", "alice")


async def test_an_issuer_that_never_answered_is_not_asked_at_every_token(publishing: Publishing) -> None:
    publishing.is_up = False
    tokens = WebTokens([issuer(publishing.url)])
    for _ in range(3):
        with pytest.raises(Unavailable):
            await tokens.principal(token("old"))
    await tokens.close()

    assert publishing.asked == 1


async def test_a_published_key_is_no_secret(publishing: Publishing) -> None:
    """A token signed with the text of a public key, as if that were a secret, is not taken."""
    tokens = WebTokens([issuer(publishing.url)])
    with pytest.raises(TokenInvalid):
        await tokens.principal(token("old", "HS256", "the public key is known to everybody"))
    await tokens.close()


@pytest.mark.parametrize(
    ("users", "claim", "named"),
    [
        ("local", "sub", Principal("local", "alice")),
        ("nextcloud", "sub", Principal("nextcloud", "alice")),
        ("local", "email", Principal("local", "alice@example.org")),
    ],
)
async def test_users_are_those_the_configuration_says(
    publishing: Publishing, users: str, claim: str, named: Principal
) -> None:
    tokens = WebTokens([issuer(publishing.url, users=users, claim=claim)])
    assert await tokens.principal(token("old", email="alice@example.org")) == named
    await tokens.close()


@pytest.mark.parametrize("name", ["", 7, None, "a\x00b", ["alice"]])
async def test_a_token_has_to_name_somebody(publishing: Publishing, name: Any) -> None:
    tokens = WebTokens([issuer(publishing.url, claim="name")])
    with pytest.raises(TokenInvalid):
        await tokens.principal(token("old", name=name))
    await tokens.close()


@pytest.mark.parametrize("text", ["", "..", "a.b.c", "x" * 20_000, "é.ü.ß"])
async def test_what_is_no_token_is_refused(publishing: Publishing, text: str) -> None:
    tokens = WebTokens([issuer(publishing.url)])
    with pytest.raises(TokenInvalid):
        await tokens.principal(text)
    await tokens.close()

    assert publishing.asked == 0


def test_a_file_that_is_no_public_key_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nothing", encoding="utf-8")
    for name in ("key", "missing"):
        with pytest.raises(ConfigurationError, match="jwt: "):
            WebTokens([Issuer("https://id.example", "us", public_key_file=str(tmp_path / name))])


def public(kid: str) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(KEYS[kid].public_key())), "kid": kid, "use": "sig", "alg": "RS256"}


async def test_published_keys_may_lie_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [public("old")]}), encoding="utf-8")
    tokens = WebTokens([issuer(jwks_file=str(file))])

    assert await tokens.principal(token("old")) == Principal("jwt:https://id.example", "alice")
    for refused in (token("new"), token("old", "HS256", "x" * 40), token("old", key=KEYS["new"])):
        with pytest.raises(TokenInvalid):
            await tokens.principal(refused)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "expected published keys"),
        ('{"keys": {}}', "expected published keys"),
        ('{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "it holds a secret key"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_holds_no_published_keys_stops_the_start(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "keys.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        WebTokens([issuer(jwks_file=str(file))])


async def test_of_a_secret_without_an_issuer_every_issuer_is_taken() -> None:
    secret = "a secret of enough bytes for this algorithm"
    tokens = WebTokens([Issuer("", "context-chat", secret=secret)])

    named = await tokens.principal(token("old", "HS256", secret, iss="https://some.example"))
    assert (named.realm, named.name) == ("jwt:", "alice")
    with pytest.raises(TokenInvalid):
        await tokens.principal(token("old", "HS256", secret, aud="others"))
