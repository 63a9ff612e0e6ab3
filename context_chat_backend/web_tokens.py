# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whom the signed token of an end user names (JSON Web Tokens, RFC 7519).

A token is taken from issuers that are configured, for our audience, with a signature of the kind the issuer's key is
for, and while it has not expired; one without an end is not taken.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import jwt

from context_chat_backend.domain import Principal, Realm, realm_of_issuer
from context_chat_backend.errors import ConfigurationError, Unavailable
from context_chat_backend.logs import get_logger
from context_chat_backend.settings.programs import Issuer

_SYMMETRIC = ("HS256", "HS384", "HS512")
_ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_LEEWAY_SECONDS = 30.0
"""Clocks differ a little."""
_LARGEST = 16 * 1024
"""Characters of a token: more is none."""
_LARGEST_PAGE = 1 << 20
"""Bytes of the keys an issuer publishes."""
_FRESH_SECONDS = 300.0
_AGAIN_SECONDS = 30.0
"""So long the keys of an issuer are not fetched again, whatever tokens name."""
_FETCH_SECONDS = 5.0
_HOLD_SECONDS = 24 * 3600.0
"""So long a key is taken that its issuer did not confirm."""
_UNREADABLE = (
    httpx.HTTPError, httpx.InvalidURL, TimeoutError, jwt.PyJWTError,
    ValueError, AttributeError, KeyError, TypeError, OverflowError, RecursionError,
)  # fmt: skip
"""What comes of asking for keys where there are none, or none that anybody could read."""
_log = get_logger(__name__)


class TokenInvalid(Exception):
    """This is no token that may be used."""


class TokenExpired(TokenInvalid):
    """It may not be used any more."""


def looks_like_web_token(text: str) -> bool:
    """Whether `text` can be nothing but such a token: it has three parts."""
    return text.count(".") == 2


class WebTokens:
    """The tokens of all configured issuers."""

    def __init__(self, issuers: Sequence[Issuer], clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ConfigurationError when the key of an issuer cannot be read."""
        self._issuers = {issuer.issuer: (issuer, _keys_of(issuer, clock)) for issuer in issuers}

    async def principal(self, token: str) -> Principal:
        """Whom `token` names. Raises TokenInvalid, TokenExpired, Unavailable."""
        if len(token) > _LARGEST:
            raise TokenInvalid
        try:
            said = jwt.decode(token, options={"verify_signature": False})
            known = self._issuers.get(str(said.get("iss"))) or self._issuers.get("")
            if known is None:
                raise TokenInvalid
            issuer, keys = known
            claims = jwt.decode(
                token,
                await keys.key_for(token),
                algorithms=list(_SYMMETRIC if issuer.secret is not None else _ASYMMETRIC),
                issuer=issuer.issuer or None,
                audience=issuer.audience,
                leeway=_LEEWAY_SECONDS,
                # Anybody finds the private half of a short key; of secrets the configuration asks for enough.
                options={"require": ["exp", issuer.claim], "enforce_minimum_key_length": issuer.secret is None},
            )
            return _named(issuer, claims[issuer.claim])
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except (jwt.InvalidTokenError, jwt.InvalidKeyError, ValueError, TypeError):
            raise TokenInvalid from None

    async def close(self) -> None:
        """Close the connections."""
        for _, keys in self._issuers.values():
            await keys.close()


def _named(issuer: Issuer, name: Any) -> Principal:
    if not isinstance(name, str):
        raise TokenInvalid
    match issuer.users:
        case "local":
            return Principal(Realm.LOCAL, name)
        case "nextcloud":
            return Principal(Realm.NEXTCLOUD, name)
        case _:
            return Principal(realm_of_issuer(issuer.issuer), name)


class _OneKey:
    """An issuer that signs with one key."""

    def __init__(self, key: str | bytes) -> None:
        self._key = key

    async def key_for(self, _: str) -> Any:
        return self._key

    async def close(self) -> None:
        pass


class _KeysOfAFile:
    """The keys an issuer publishes, as they were copied to a file."""

    def __init__(self, keys: jwt.PyJWKSet) -> None:
        self._keys = {key.key_id: key.key for key in keys.keys if key.public_key_use in (None, "sig")}

    async def key_for(self, token: str) -> Any:
        """Raises TokenInvalid when the key of this token is not among them."""
        kid = jwt.get_unverified_header(token).get("kid")
        if kid not in self._keys:
            raise TokenInvalid
        return self._keys[kid]

    async def close(self) -> None:
        pass


class _PublishedKeys:
    """The keys an issuer publishes, fetched when they are needed (RFC 7517)."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        self._url = url
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=_FETCH_SECONDS)
        self._keys: dict[str | None, Any] = {}
        self._tried_at = float("-inf")
        self._confirmed_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def key_for(self, token: str) -> Any:
        """Raises TokenInvalid when the issuer does not publish the key of this token; Unavailable."""
        kid = jwt.get_unverified_header(token).get("kid")
        # While another fetches, a key we have serves.
        if not self._is_settled(kid) and not (kid in self._keys and self._fetching.locked()):
            async with self._fetching:
                if not self._is_settled(kid):  # nobody else has fetched meanwhile
                    await self._fetch()
        if kid in self._keys:  # confirmed by its issuer within the time it holds
            return self._keys[kid]
        if self._confirmed_at < self._tried_at:  # it may be published now
            raise Unavailable("the keys of an issuer of tokens cannot be fetched")
        raise TokenInvalid

    def _is_settled(self, kid: str | None) -> bool:
        """Whether nothing is to be fetched for this key: it is fresh, or its issuer was asked a moment ago."""
        now = self._clock()
        if now - self._confirmed_at > _HOLD_SECONDS:
            self._keys = {}
        if now - self._tried_at <= _AGAIN_SECONDS:
            return True
        return kid in self._keys and now - self._confirmed_at <= _FRESH_SECONDS

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                page = await self._page()
            found = jwt.PyJWKSet.from_dict(json.loads(page))
        except _UNREADABLE as error:
            _log.warning("keys_of_issuer_missing", error=type(error).__name__)
            self._tried_at = self._clock()
            return  # those we have still hold
        self._keys = {key.key_id: key.key for key in found.keys if key.public_key_use in (None, "sig")}
        self._tried_at = self._confirmed_at = self._clock()

    async def _page(self) -> bytes:
        """What is published. Raises what httpx does; ValueError where it is more than keys can be."""
        page = b""
        # Unpacked, little that is sent could be much.
        async with self._client.stream("GET", self._url, headers={"Accept-Encoding": "identity"}) as answer:
            if answer.raise_for_status().headers.get("content-encoding", "identity") != "identity":
                raise ValueError
            async for piece in answer.aiter_raw():
                page += piece
                if len(page) > _LARGEST_PAGE:
                    raise ValueError
        return page

    async def close(self) -> None:
        await self._client.aclose()


def _keys_of(issuer: Issuer, clock: Callable[[], float]) -> _OneKey | _KeysOfAFile | _PublishedKeys:
    if issuer.jwks_url is not None:
        return _PublishedKeys(issuer.jwks_url, clock)
    if issuer.secret is not None:
        return _OneKey(issuer.secret)
    if issuer.jwks_file is not None:
        return _keys_of_file(Path(issuer.jwks_file))
    assert issuer.public_key_file is not None
    path = Path(issuer.public_key_file)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"jwt: {path} cannot be read ({error.strerror}): name a file with a public key"
        ) from None
    if b"PUBLIC KEY" not in text:
        raise ConfigurationError(f"jwt: {path}: expected a public key in PEM")
    return _OneKey(text)


def _keys_of_file(path: Path) -> _KeysOfAFile:
    """Raises ConfigurationError; keys that are kept secret are none that are published."""
    try:
        listed = json.loads(path.read_bytes())
        secret = any(key.get("kty") == "oct" or "d" in key for key in listed["keys"])
        found = None if secret else jwt.PyJWKSet.from_dict(listed)
    except OSError as error:
        raise ConfigurationError(f"jwt: {path} cannot be read ({error.strerror}): name a file with keys") from None
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError):
        raise ConfigurationError(f'jwt: {path}: expected published keys: {{"keys": [{{"kty": …}}]}}') from None
    if found is None:
        raise ConfigurationError(f"jwt: {path}: it holds a secret key; name a file with public keys alone")
    return _KeysOfAFile(found)
