# SPDX-License-Identifier: AGPL-3.0-or-later
"""The certificates by which ports are known: checked before they are used, and read again when they are renewed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from context_chat_backend.errors import StartError
from context_chat_backend.logs import get_logger
from context_chat_backend.settings.listeners import Tls

_LOOK_SECONDS = 2.0
_log = get_logger(__name__)


class Certificate:
    """What a port shows; connections that come later see what was renewed."""

    def __init__(self, tls: Tls) -> None:
        """Raises StartError when it cannot be used, with the reason."""
        self.tls = tls
        self._seen = _state(tls)
        self.context = _checked(tls)

    def renew(self) -> None:
        """Read the files again where they have changed; what cannot be used leaves the old one in its place."""
        now = _state(self.tls)
        if now == self._seen:
            return
        self._seen = now
        try:
            _checked(self.tls)
            _load(self.context, self.tls)
        except StartError as error:
            _log.error("certificate_not_renewed", reason=str(error))
            return
        _log.info("certificate_renewed", file=str(self.tls.cert_file))


async def keep_renewed(certificates: Sequence[Certificate]) -> None:
    """Look after the files until cancelled."""
    while certificates:
        await asyncio.sleep(_LOOK_SECONDS)
        for certificate in certificates:
            await asyncio.to_thread(certificate.renew)


def _checked(tls: Tls) -> ssl.SSLContext:
    for path in (tls.cert_file, tls.key_file):
        try:
            path.read_bytes()
        except OSError as error:
            raise StartError(f"{path} cannot be read ({error.strerror}): give this user the file") from None
    try:
        certificate = x509.load_pem_x509_certificates(tls.cert_file.read_bytes())[0]
    except ValueError:
        raise StartError(f"{tls.cert_file}: expected a certificate in PEM, and those that signed it") from None
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc <= now:
        raise StartError(
            f"{tls.cert_file}: it expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it"
        )
    if certificate.not_valid_before_utc > now:
        raise StartError(f"{tls.cert_file}: it is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, tls)
    return context


def _load(context: ssl.SSLContext, tls: Tls) -> None:
    try:
        # Without a password nobody is asked for one on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password=tls.key_password or "")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise StartError(
            f"{tls.key_file}: it is no key of {tls.cert_file}, or key_password does not open it ({reason})"
        ) from None


def _state(tls: Tls) -> list[tuple[int, int, int] | None]:
    return [_stat(tls.cert_file), _stat(tls.key_file)]


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
