# SPDX-License-Identifier: AGPL-3.0-or-later
"""What keeps passages data: nothing hidden goes into a prompt, and no address comes out that no cited passage holds.

A passage may tell the model to send its readers elsewhere, or to load a picture whose address carries what the model
has read; a picture is fetched as soon as the answer is shown. So pictures never leave, and links do only when a cited
passage holds their address, letter by letter (OWASP LLM01 and LLM02; markdown image exfiltration).
"""

from __future__ import annotations

import html
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
_CARRYING = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    "|(?<=[\u200c-\u200f\u061c\ufe0e\ufe0f]{2})[\u200c-\u200f\u061c\ufe0e\ufe0f]+"
)
"""Those of them that an answer can do without; joiners, marks of direction and of emoji stay, but no row of them."""

_TAIL = r"[^\s<>\"'`|]*"
_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9])(?P<address>"
    rf"(?:[A-Za-z][A-Za-z0-9+.-]{{0,30}}\\?:\\?/\\?/|www\\?\.|mailto\\?:|data\\?:)[^\s<>\"'`|]{_TAIL}"
    rf"|(?:[\w-]{{1,63}}\.)+[^\W\d_]{{2,63}}(?::\d{{1,5}})?(?:/|[?#](?=[\w%])){_TAIL}"
    r"|[\w.+-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,63}"
    rf"|(?<![:/\w])//(?=[\w-]+\.\w){_TAIL})",
    re.IGNORECASE,
)
"""What a viewer may turn into a link, also without a mark around it."""
_IMAGE = re.compile(r"!\[(?P<alt>[^\[\]]*)\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)?|\[[^\]]*\])?")
_LINK = re.compile(r"\[(?P<said>[^\[\]]*)\]\(\s*<?(?P<target>[^)\s<>]*)>?[^()]*\)?")
_DEFINITION = re.compile(r"^(?P<before>[ \t>*+-]{0,12})\[(?!\d+\])(?P<name>[^\[\]]+)\]:", re.MULTILINE)
_ACTIVE = (
    "img|image|picture|source|script|iframe|frame|frameset|object|embed|applet|link|meta|base|form|input|button|svg|"
    "math|video|audio|track|style|portal|template"
)
_TAG = re.compile(rf"</?(?:[A-Za-z][^<>]*?=[^<>]*>?|(?:{_ACTIVE})\b[^<>]*>?)|<!--.*?(?:-->|$)", re.IGNORECASE)
_DANGLING = re.compile(r"\](?=\()")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,12});")
_SPELT = re.compile(r"[A-Za-z0-9:/.@?#%=_!()\[\]\\-]")
"""Characters an address, a link or a picture is made of: nobody needs to write them as entities."""
_ENDING = ".,;:!?)]}*_"
"""What follows an address in a sentence and is no part of it."""
_PASSES = 8
"""What is left of one removal may be something else that has to go."""

SUSPECT = re.compile(rf"[\[\]<]|{_ENTITY.pattern}|&#|{_ADDRESS.pattern.replace('?P<address>', '?:')}", re.IGNORECASE)
"""What makes a word, with what follows it in its line, an address, a link, a picture or a broken marker."""


def visible(text: str) -> str:
    """`text` without characters that a reader does not see, but a model reads."""
    return _HIDDEN.sub("", text)


def harmless(text: str, cited: Sequence[Passage]) -> str:
    """`text` without pictures, and without addresses that none of the `cited` passages holds.

    Of a link its words are left, of a picture its description. Nothing is left that a viewer could join with a later
    line to a link: definitions of addresses become text, and HTML that fetches or acts goes.
    """
    text = _CARRYING.sub("", text)
    if SUSPECT.search(text) is None:
        return text
    for _ in range(_PASSES):
        before, text = text, _once(text, cited)
        if text == before:
            return text
    return _ADDRESS.sub(REMOVED, _TAG.sub("", text).replace("[", "(").replace("]", ")"))


def _once(text: str, cited: Sequence[Passage]) -> str:
    text = _ENTITY.sub(_spelt, text)
    text = _TAG.sub("", text)
    text = _IMAGE.sub(lambda image: image["alt"], text)
    text = _DEFINITION.sub(lambda definition: f"{definition['before']}{definition['name']}:", text)
    out, read_to = "", 0
    for link in _LINK.finditer(text):
        out += _bare(text[read_to : link.start()], cited)
        said = _bare(link["said"], cited)
        out += f"[{said}]({link['target']})" if _held(link["target"], cited) else said
        read_to = link.end()
    return out + _bare(text[read_to:], cited)


def _bare(text: str, cited: Sequence[Passage]) -> str:
    """Text outside of links."""

    def replaced(match: re.Match[str]) -> str:
        address = match["address"].rstrip(_ENDING)
        return match[0] if _held(address, cited) else REMOVED + match["address"][len(address) :]

    return _DANGLING.sub("] ", _ADDRESS.sub(replaced, text))


def _spelt(entity: re.Match[str]) -> str:
    character = html.unescape(entity[0])
    return character if _SPELT.fullmatch(character) else entity[0]


def _held(address: str, cited: Sequence[Passage]) -> bool:
    """Whether a cited passage holds the whole of an address; `https://` may be missing on either side."""
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:(?!\d)", address)
    if scheme is not None and scheme[0].lower() not in ("http:", "https:", "mailto:", "ftp:"):
        return False
    bare = re.sub(r"^(?:https?://|mailto:)", "", address, flags=re.IGNORECASE)
    if not bare.strip("/"):
        return False
    whole = re.compile(rf"(?<![\w.@-]){re.escape(bare)}(?![\w/%=&#+~$-]|[.:?@,;!'()*\\][\w/])")
    return any(whole.search(visible(passage.text)) for passage in cited)
