# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who goes on sending what does not hold is told to wait, and whoever sends what holds never is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from context_chat_backend.config import AppSettings, Secret
from context_chat_backend.domain import ApiKey, KeyScope, Principal, Realm
from context_chat_backend.settings.chat import ChatSettings
from context_chat_backend.store.keys import KeyUse
from context_chat_backend.web.app import build_app
from context_chat_backend.web.throttle import Throttle
from context_chat_backend.web_tokens import TokenExpired, TokenInvalid
from tests.fakes import FakeBackend
from tests.program import headers

ALLOWED = 3
ADMIN = "token-of-administrators"
NOWHERE = "/v1/conversations/none"
"""What a caller who is let in is told is not there."""
RIGHT, LIMITED = "a right key", "a right key that is used too often"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeKeys:
    """Knows two keys; of the second too many uses were counted."""

    async def page(self, **_: Any) -> tuple[list[ApiKey], int]:
        return [], 0

    async def use(self, text: str) -> KeyUse | None:
        if text not in (RIGHT, LIMITED):
            return None
        known: dict[str, Any] = dict.fromkeys(ApiKey.__dataclass_fields__)
        known |= {"id": "1", "user": Principal(Realm.LOCAL, "alice"), "scopes": frozenset(KeyScope), "collections": ()}
        return KeyUse(ApiKey(**known), is_over_limit=text == LIMITED, is_used_up=False, seconds_left=1.0)


class FakeTokens:
    """Knows one token, which has expired."""

    async def principal(self, token: str) -> Principal:
        raise TokenExpired if token == "a.b.expired" else TokenInvalid


@pytest.fixture
def backend(tmp_path: Path) -> Any:
    backend: Any = FakeBackend(tmp_path)
    backend.config.app = AppSettings(secret=Secret("secret"), admin_token=Secret(ADMIN), refusals_per_minute=ALLOWED)
    backend.keys, backend.web_tokens = FakeKeys(), FakeTokens()
    backend.config.programs, backend.config.chat = SimpleNamespace(environment="production"), ChatSettings()
    return backend


class Street:
    """One listener, and callers at several addresses."""

    def __init__(self, backend: Any, surface: str) -> None:
        self._app = build_app(backend, surfaces=[surface])

    async def get(self, path: str, sent: dict[str, str], address: str | None = "203.0.113.7") -> httpx.Response:
        transport = httpx.ASGITransport(self._app, client=(address, 1) if address else None)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get(path, headers=sent)

    async def statuses(
        self, count: int, path: str, sent: dict[str, str], address: str | None = "203.0.113.7"
    ) -> list[int]:
        return [(await self.get(path, sent, address)).status_code for _ in range(count)]


DOORS = {
    "nextcloud": ("/enabled", headers("guessed"), headers("secret")),
    "metrics": ("/status", {"Authorization": "Bearer guessed"}, {"Authorization": f"Bearer {ADMIN}"}),
    "chat": ("/admin/api-keys", {"X-Admin-Token": "guessed"}, {"X-Admin-Token": ADMIN}),
    "openai": (NOWHERE, {"X-API-Key": "guessed"}, {"X-API-Key": RIGHT}),
}


@pytest.mark.parametrize("surface", DOORS)
async def test_a_right_secret_passes_from_the_address_of_a_guesser(backend: Any, surface: str) -> None:
    """AppAPI, a proxy and an attacker may have one address: nobody locks out Nextcloud."""
    path, wrong, right = DOORS[surface]
    street = Street(backend, surface)
    guessed = await street.statuses(10, path, wrong)

    assert guessed == [401] * ALLOWED + [429] * (10 - ALLOWED)
    assert await street.statuses(5, path, right) == [404 if surface == "openai" else 200] * 5
    assert await street.statuses(1, path, wrong) == [429]


@pytest.mark.parametrize("surface", DOORS)
async def test_who_has_to_wait_is_told_how_long_and_nothing_else(backend: Any, surface: str) -> None:
    path, wrong, _ = DOORS[surface]
    street = Street(backend, surface)
    await street.statuses(ALLOWED, path, wrong)
    answer = await street.get(path, wrong)

    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert "guessed" not in answer.text


async def test_other_addresses_are_counted_by_themselves(backend: Any) -> None:
    path, wrong, _ = DOORS["nextcloud"]
    street = Street(backend, "nextcloud")
    await street.statuses(10, path, wrong, "203.0.113.7")

    assert await street.statuses(1, path, wrong, "203.0.113.8") == [401]
    assert await street.statuses(ALLOWED + 1, path, wrong, None) == [401] * ALLOWED + [429]  # a unix socket


async def test_right_ones_are_not_counted_nor_those_that_have_expired_nor_nobody(backend: Any) -> None:
    street = Street(backend, "openai")
    for sent, status in (
        ({"X-API-Key": RIGHT}, 404),
        ({"X-API-Key": LIMITED}, 429),
        ({"X-API-Key": "a.b.expired"}, 401),
        ({}, 401),
    ):
        assert await street.statuses(10, NOWHERE, sent) == [status] * 10
    assert await street.statuses(ALLOWED, NOWHERE, {"X-API-Key": "a.b.invalid"}) == [401] * ALLOWED


async def test_the_log_has_one_line_for_all_that_comes_too_often(
    backend: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path, wrong, _ = DOORS["nextcloud"]
    await Street(backend, "nextcloud").statuses(50, path, wrong)
    logged = "".join(capsys.readouterr()) + caplog.text

    assert logged.count("not_authenticated") == ALLOWED
    assert logged.count("refused_too_often") == 1


def test_a_new_minute_begins_anew() -> None:
    clock = Clock()
    throttle = Throttle(2, clock)

    assert [throttle.refused("a") for _ in range(3)] == [None, None, 60]
    clock.now = 59.5
    assert throttle.refused("a") == 1
    clock.now = 60.0
    assert [throttle.refused("a") for _ in range(3)] == [None, None, 60]


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("no address", "another", False),
    ],
)
def test_an_ipv6_network_counts_as_one_address(one: str, other: str, together: bool) -> None:
    throttle = Throttle(1)
    assert throttle.refused(one) is None
    assert (throttle.refused(other) is not None) is together


def test_of_very_many_addresses_the_oldest_are_forgotten() -> None:
    throttle = Throttle(1)
    first, *others = (f"10.0.{number >> 8}.{number & 255}" for number in range(10_001))
    for address in (first, *others):
        assert throttle.refused(address) is None

    assert throttle.refused(first) is None
    assert throttle.refused(others[-1]) is not None
