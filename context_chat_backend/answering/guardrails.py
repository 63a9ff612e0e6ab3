# SPDX-License-Identifier: AGPL-3.0-or-later
"""What keeps passages data: nothing hidden goes into a prompt, and no address comes out that no cited passage holds.

A passage may tell the model to send its readers elsewhere, or to load a picture whose address carries what the model
has read; a picture is fetched as soon as the answer is shown. So pictures never leave, and links do only when a cited
passage holds their address, letter by letter (OWASP LLM01 and LLM02; markdown image exfiltration).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from context_chat_backend.domain import Passage

REMOVED = "(link removed)"
"""What stands in the place of an address that no cited passage holds."""

_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Characters that are not seen: soft hyphens, zero-width and bidirectional controls, fillers, selectors, tags."""

_IMAGE = r"!\[(?P<alt>[^\]]*)\](?:\((?P<image>[^)]*)\)|\[[^\]]*\])"
_LINK = r"\[(?P<said>[^\]]*)\]\(\s*<?(?P<target>[^)\s>]*)>?[^)]*\)"
_DEFINITION = r"^\s{0,3}\[(?!\d+\])(?P<name>[^\]]+)\]:\s*<?(?P<defined>\S+?)>?(?:\s.*)?$"
_TAG = r"</?[A-Za-z][^<>]*?(?:src|href|srcset|action|style|background|poster|data)\s*=[^<>]*>?"
_ADDRESS = (
    r"(?<![A-Za-z0-9])(?P<address>(?:[A-Za-z][A-Za-z0-9+.-]*://|www\.|mailto:|data:)[^\s<>\"'`|]+"
    r"|(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}/[^\s<>\"'`|]*)"
)
_ADDRESSES = re.compile("|".join((_IMAGE, _LINK, _DEFINITION, _TAG, _ADDRESS)), re.MULTILINE | re.IGNORECASE)
_ENDING = ".,;:!?)]}*_"
"""What follows an address in a sentence and is no part of it."""


def visible(text: str) -> str:
    """`text` without characters that a reader does not see, but a model reads."""
    return _HIDDEN.sub("", text)


def harmless(text: str, cited: Sequence[Passage]) -> str:
    """`text` without pictures, and without addresses that none of the `cited` passages holds.

    Of a link its words are left, of a picture its description.
    """

    def replaced(match: re.Match[str]) -> str:
        found = match.groupdict()
        if found["alt"] is not None:
            return found["alt"]
        if found["said"] is not None:
            return match[0] if _held(found["target"], cited) else found["said"]
        if found["defined"] is not None:
            return match[0] if _held(found["defined"], cited) else ""
        if found["address"] is not None:
            address = found["address"].rstrip(_ENDING)
            return match[0] if _held(address, cited) else REMOVED + found["address"][len(address) :]
        return ""

    return _ADDRESSES.sub(replaced, text)


def _held(address: str, cited: Sequence[Passage]) -> bool:
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", address)
    if scheme is not None and scheme[0].lower() not in ("http:", "https:", "mailto:", "ftp:"):
        return False
    return bool(address) and any(address in visible(passage.text) for passage in cited)
