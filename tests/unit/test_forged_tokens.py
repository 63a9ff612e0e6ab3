# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens as an attacker writes them: another algorithm, a key of his own in the header, other times, other names."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm
from jwt.utils import base64url_encode

from context_chat_backend.domain import Principal
from context_chat_backend.settings.programs import Issuer
from context_chat_backend.web_tokens import TokenExpired, TokenInvalid, WebTokens

OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
THEIRS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SHARED = "a secret of the tests that is long enough"
BY_KEY, BY_SECRET = "https://key.example", "https://secret.example"


@pytest.fixture
def tokens(tmp_path: Path) -> WebTokens:
    """One issuer signs with a key, one with a secret."""
    (tmp_path / "key.pem").write_bytes(PEM)
    return WebTokens([
        Issuer(BY_KEY, "here", public_key_file=str(tmp_path / "key.pem")),
        Issuer(BY_SECRET, "here", secret=SHARED),
    ])  # fmt: skip


def claims(issuer: str = BY_KEY, **more: Any) -> dict[str, Any]:
    named = {"iss": issuer, "aud": "here", "sub": "alice", "exp": datetime(2100, 1, 1, tzinfo=UTC)}
    return {name: value for name, value in (named | more).items() if value is not None}


def by_hand(header: Mapping[str, Any], said: Mapping[str, Any], signature: bytes = b"") -> str:
    """A token no library would write."""
    said = {name: int(value.timestamp()) if isinstance(value, datetime) else value for name, value in said.items()}
    parts = [json.dumps(dict(part)).encode() for part in (header, said)]
    return b".".join(base64url_encode(part) for part in (*parts, signature)).decode()


def hmac_with(key: bytes, header: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """Signed with HMAC by bytes a library refuses as a secret: the text of a public key."""
    unsigned = by_hand(header, said).rpartition(".")[0]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(unsigned.encode(), key)
    return f"{unsigned}.{base64url_encode(signature).decode()}"


async def test_the_tokens_that_are_attacked_below_hold(tokens: WebTokens) -> None:
    assert await tokens.principal(jwt.encode(claims(), OURS, "RS256")) == Principal(f"jwt:{BY_KEY}", "alice")
    assert await tokens.principal(jwt.encode(claims(BY_SECRET), SHARED)) == Principal(f"jwt:{BY_SECRET}", "alice")


FORGED = {
    **{f"alg {name}": by_hand({"alg": name, "typ": "JWT"}, claims()) for name in ("none", "None", "NONE", "nOnE", "")},
    "no alg": by_hand({"typ": "JWT"}, claims()),
    "alg is a list": by_hand({"alg": ["RS256", "none"]}, claims()),
    "no signature": by_hand({"alg": "RS256"}, claims()),
    "no signature of an issuer with a secret": by_hand({"alg": "HS256"}, claims(BY_SECRET)),
    "the public key as a secret": hmac_with(PEM, {"alg": "HS256"}, claims()),
    "the public key in a line as a secret": hmac_with(PEM.strip(), {"alg": "HS512"}, claims()),
    "a key of one's own": jwt.encode(claims(), THEIRS, "RS256"),
    "a key of one's own in the header": jwt.encode(
        claims(), THEIRS, "RS256", headers={"jwk": json.loads(RSAAlgorithm.to_jwk(THEIRS.public_key()))}
    ),
    "an address of one's own": jwt.encode(claims(), THEIRS, "RS256", headers={"jku": "https://evil.example/keys"}),
    "a certificate of one's own": jwt.encode(claims(), THEIRS, "RS256", headers={"x5u": "https://evil.example/c"}),
    "a path as the name of the key": hmac_with(b"", {"alg": "HS256", "kid": "../../../../dev/null"}, claims()),
    "SQL as the name of the key": jwt.encode(claims(), "x" * 32, headers={"kid": "' UNION SELECT 'x' --"}),
    "a curve instead of RSA": jwt.encode(claims(), ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "RSA for the issuer with a secret": jwt.encode(claims(BY_SECRET), OURS, "RS256"),
    "the secret of another issuer": jwt.encode(claims(BY_KEY), SHARED),
    "an empty secret": by_hand({"alg": "HS256"}, claims(BY_SECRET), b"\x00" * 32),
    "a member that has to be understood": jwt.encode(
        claims(), OURS, "RS256", headers={"crit": ["exp"], "exp": 4102444800}
    ),
    "another audience": jwt.encode(claims(aud="there"), OURS, "RS256"),
    "no audience": jwt.encode(claims(aud=None), OURS, "RS256"),
    "an audience of another kind": by_hand({"alg": "RS256"}, claims(aud={"here": 1})),
    "another issuer": jwt.encode(claims("https://evil.example"), OURS, "RS256"),
    "no issuer": jwt.encode(claims(iss=None), OURS, "RS256"),
    "several issuers": by_hand({"alg": "RS256"}, claims(iss=[BY_KEY, BY_SECRET])),
    "an issuer that only begins alike": jwt.encode(claims(BY_KEY + ".evil"), OURS, "RS256"),
    "no end": jwt.encode(claims(exp=None), OURS, "RS256"),
    "an end that is no number": by_hand({"alg": "RS256"}, claims(exp="never")),
    "not before tomorrow": jwt.encode(claims(nbf=datetime.now(UTC) + timedelta(days=1)), OURS, "RS256"),
    "made tomorrow": jwt.encode(claims(iat=datetime.now(UTC) + timedelta(days=1)), OURS, "RS256"),
}


@pytest.mark.parametrize("how", FORGED)
async def test_a_forged_token_is_refused(tokens: WebTokens, how: str) -> None:
    with pytest.raises(TokenInvalid) as refusal:
        await tokens.principal(FORGED[how])
    assert refusal.type is TokenInvalid
    assert str(refusal.value) == ""


async def test_a_token_is_not_taken_after_its_end_but_for_what_clocks_differ(tokens: WebTokens) -> None:
    def ended(seconds: int) -> str:
        return jwt.encode(claims(exp=datetime.now(UTC) - timedelta(seconds=seconds)), OURS, "RS256")

    assert (await tokens.principal(ended(1))).name == "alice"
    with pytest.raises(TokenExpired):
        await tokens.principal(ended(60))


@pytest.mark.parametrize("place", range(3))
async def test_no_byte_of_a_token_can_be_changed(tokens: WebTokens, place: int) -> None:
    parts = jwt.encode(claims(), OURS, "RS256").split(".")
    for at in range(0, len(parts[place]) - 4, 7):  # the last letters may hold bits that are not read
        changed = list(parts)
        letter = "A" if parts[place][at] != "A" else "B"
        changed[place] = parts[place][:at] + letter + parts[place][at + 1 :]
        with pytest.raises(TokenInvalid):
            await tokens.principal(".".join(changed))


async def test_a_token_with_other_claims_and_the_signature_of_a_right_one_is_refused(tokens: WebTokens) -> None:
    header, _, signature = jwt.encode(claims(), OURS, "RS256").split(".")
    said = base64.urlsafe_b64encode(json.dumps(claims(exp=4102444800, sub="bob")).encode()).decode().rstrip("=")
    with pytest.raises(TokenInvalid):
        await tokens.principal(f"{header}.{said}.{signature}")
