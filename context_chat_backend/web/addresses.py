# SPDX-License-Identifier: AGPL-3.0-or-later
"""From which address somebody asks; a proxy is believed only where it is trusted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi import Request

_OWN_BITS = 64


@dataclass(frozen=True)
class Address:
    """Where a request comes from."""

    text: str
    source: str
    """`peer`, or `forwarded` where a trusted proxy has said it."""

    @property
    def kind(self) -> str:
        """`ipv4`, `ipv6` or `unknown`."""
        try:
            return f"ipv{ipaddress.ip_address(self.text).version}"
        except ValueError:
            return "unknown"

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, or a private network."""
        try:
            address = ipaddress.ip_address(self.text)
        except ValueError:
            return False
        return address.is_loopback or address.is_private

    @property
    def network(self) -> str:
        """By what it is counted: of an IPv6 address whoever has it chooses the last 64 bits."""
        try:
            address = ipaddress.ip_address(self.text.partition("%")[0])
        except ValueError:
            return self.text
        if not isinstance(address, ipaddress.IPv6Address):
            return str(address)
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Address(int(address) >> _OWN_BITS << _OWN_BITS))


def client_address(request: Request, trusted: Sequence[str]) -> Address:
    """The peer; where it is a trusted proxy, the last of X-Forwarded-For that is none."""
    peer = request.client.host if request.client is not None else "unknown"
    if not _is_trusted(peer, trusted):
        return Address(peer, "peer")
    for told in _forwarded(request):
        if not _is_trusted(told, trusted):
            return Address(told, "forwarded") if Address(told, "").kind != "unknown" else Address(peer, "peer")
    return Address(peer, "peer")


def _forwarded(request: Request) -> Iterator[str]:
    for header in reversed(request.headers.getlist("x-forwarded-for")):
        yield from (told.strip() for told in reversed(header.split(",")))


def _is_trusted(text: str, trusted: Sequence[str]) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(proxy, strict=False) for proxy in trusted)
