# SPDX-License-Identifier: AGPL-3.0-or-later
"""The keys of `config.yaml` about programs that ask without Nextcloud: who they are, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.checks import one_of, section, typed, url, whole

ENVIRONMENTS = ("production", "development")
USERS_OF_A_TOKEN = ("own", "local", "nextcloud")
_KEYS_OF_AN_ISSUER = ("secret", "public_key_file", "jwks_file", "jwks_url")
_OF_AN_ISSUER = ("issuer", "audience", *_KEYS_OF_AN_ISSUER, "users", "claim")
_SUPABASE_AUDIENCE = "authenticated"
_SHORTEST_SECRET = 32
"""Bytes: what HMAC with SHA-256 needs (RFC 7518, 3.2)."""


@dataclass(frozen=True)
class Issuer:
    """Somebody whose signed tokens say who an end user is."""

    issuer: str
    """'': whoever says he issued it, where only the secret counts."""
    audience: str
    """What tokens for this program name as their audience."""
    secret: str | None = field(default=None, repr=False)
    public_key_file: str | None = None
    jwks_file: str | None = None
    """Published keys (RFC 7517) that were copied here."""
    jwks_url: str | None = None
    """One of the four: by what a signature is checked."""
    users: str = "own"
    """Whom a token names: users of this issuer alone, or those of the realm `local` or `nextcloud`."""
    claim: str = "sub"
    """Where the name of the user stands."""


@dataclass(frozen=True)
class ChatQnaSettings:
    """What ChatQnA does."""

    allow_anonymous: bool = False
    strict_grounding: bool = False
    """Whether the model is not asked where no passage was found."""
    rewrite_query: bool = False
    """Whether a follow-up is rewritten by the model, rather than by rules."""
    requests_per_minute: int = 60
    """Of one asker, over all surfaces: of ChatQnA by whatever key or token, of the others without a key."""


@dataclass(frozen=True)
class ProgramSettings:
    """Who may ask without Nextcloud, and how."""

    environment: str = "production"
    """In development who sends no key may ask, and reads what everybody may read."""
    issuers: tuple[Issuer, ...] = ()
    chatqna: ChatQnaSettings = ChatQnaSettings()


def read_program_settings(environment: Any, jwt: Any, chatqna: Any) -> ProgramSettings:
    """What stands at `environment`, `jwt` and `chatqna`. Raises ConfigurationError with the key and the cure."""
    environment = one_of("environment", "production" if environment is None else environment, ENVIRONMENTS)
    listed = [] if jwt is None else jwt if isinstance(jwt, list) else [jwt]
    issuers = tuple(_issuer(f"jwt[{number}]", given) for number, given in enumerate(listed))
    for issuer in issuers:
        if sum(other.issuer == issuer.issuer for other in issuers) > 1:
            raise ConfigurationError(f"jwt: the issuer {issuer.issuer} stands there twice")
    return ProgramSettings(environment, issuers, _chatqna(chatqna))


def _issuer(path: str, given: Any) -> Issuer:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{path}: expected issuer, audience, and one of {', '.join(_KEYS_OF_AN_ISSUER)}")
    told = section(path, given, _OF_AN_ISSUER)
    for key, value in told.items():
        if not isinstance(value, str) or not value.strip():
            raise ConfigurationError(f"{path}.{key}: expected a text (in quotes where it looks like a number)")
    for key in ("issuer", "audience"):
        if key not in told:
            raise ConfigurationError(f"{path}.{key}: it is missing; a token for somebody else must not be taken")
    named = [key for key in _KEYS_OF_AN_ISSUER if key in told]
    if len(named) != 1:
        raise ConfigurationError(f"{path}: expected one of {', '.join(_KEYS_OF_AN_ISSUER)}")
    if len(told.get("secret", "x" * _SHORTEST_SECRET).encode()) < _SHORTEST_SECRET:
        raise ConfigurationError(f"{path}.secret: expected at least {_SHORTEST_SECRET} bytes: shorter ones are guessed")
    url(f"{path}.jwks_url", told.get("jwks_url", "https://"))
    one_of(f"{path}.users", told.get("users", "own"), USERS_OF_A_TOKEN)
    return Issuer(**told)


def supabase_issuer(environment: Mapping[str, str]) -> Issuer | None:
    """The project of Supabase whose users' tokens are taken, as SUPABASE_JWT_SECRET and SUPABASE_PROJECT_URL name it.

    None where neither is set. Raises ConfigurationError.
    """
    secret, project = environment.get("SUPABASE_JWT_SECRET"), environment.get("SUPABASE_PROJECT_URL", "").rstrip("/")
    if not secret and not project:
        return None
    issuer = f"{url('SUPABASE_PROJECT_URL', project)}/auth/v1" if project else ""
    if not secret:
        return Issuer(issuer, _SUPABASE_AUDIENCE, jwks_url=f"{issuer}/.well-known/jwks.json")
    if len(secret.encode()) < _SHORTEST_SECRET:
        raise ConfigurationError(
            f"SUPABASE_JWT_SECRET: expected at least {_SHORTEST_SECRET} bytes: shorter ones are guessed"
        )
    return Issuer(issuer, _SUPABASE_AUDIENCE, secret=secret)


def _chatqna(given: Any) -> ChatQnaSettings:
    default = ChatQnaSettings()
    told = section("chatqna", given, vars(default))
    for key, value in told.items():
        path = f"chatqna.{key}"
        if isinstance(getattr(default, key), bool):
            typed(path, value, bool)
        else:
            whole(path, value, 1)
    return ChatQnaSettings(**told)
