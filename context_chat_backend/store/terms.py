# SPDX-License-Identifier: AGPL-3.0-or-later
"""The terms of words: numbers of stems, which the database gives, whose stemmer questions go through too.

A text has few words, again and again. What the database has said of a word is remembered, so that it stems each once
and not each time it is written.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from context_chat_backend.compounds import has_compounds
from context_chat_backend.store.database import Connection, statement
from context_chat_backend.words import taken_apart

Terms = Mapping[str, tuple[int, ...]]
"""The terms of each name, as often as they occur in it; none where all its words are too common to be told apart."""

_REMEMBERED = 40_000
"""Names: some 10 MB."""
_WORDS_A_TEXT = 1000
"""PostgreSQL counts positions up to 16 383."""
_PLAIN = re.compile("[A-Za-z][a-z]{0,199}|[0-9]{1,200}")
"""What PostgreSQL reads as one word, and so do we."""


class TermMemory:
    """What is known of names."""

    def __init__(self) -> None:
        self._known: defaultdict[str, dict[str, tuple[int, ...]]] = defaultdict(dict)

    async def of_names(self, connection: Connection, language: str, names: Iterable[str]) -> Terms:
        """The terms of names in texts of `language`: of their words, of the parts of compounds, of names as a whole."""
        wanted = set(names)
        known = self._known[language]
        missing = wanted - known.keys()
        found = {name: known[name] for name in wanted - missing}
        if missing:
            new = await _look_up(connection, language, missing)
            self._remember(language, new)
            found |= new
        return found

    async def of_pairs(self, connection: Connection, pairs: Iterable[str]) -> Terms:
        """The terms of pairs of characters, each the one of the pair itself."""
        return {pair: (term,) for pair, term in (await _wholes(connection, list(pairs))).items()}

    def clear(self) -> None:
        """Know nothing."""
        self._known.clear()

    def _remember(self, language: str, new: Terms) -> None:
        if sum(map(len, self._known.values())) + len(new) > _REMEMBERED:
            self._known.clear()
        if len(new) <= _REMEMBERED:
            self._known[language].update(new)


async def _look_up(connection: Connection, language: str, names: set[str]) -> dict[str, tuple[int, ...]]:
    plain = [] if has_compounds(language) else [name for name in names if _PLAIN.fullmatch(name)]
    apart = {name: taken_apart(name, language) for name in names.difference(plain)}
    stems = await _stems(connection, language, plain, {word for words, _ in apart.values() for word in words})
    wholes = await _wholes(connection, [whole for _, whole in apart.values() if whole is not None])
    found = {name: stems.get(name, ()) for name in plain}
    for name, (words, whole) in apart.items():
        terms = [term for word in words for term in stems.get(word, ())]
        found[name] = (*terms, *(() if whole is None else (wholes[whole],)))
    return found


async def _stems(
    connection: Connection, language: str, plain: Sequence[str], others: set[str]
) -> Mapping[str, tuple[int, ...]]:
    """The terms of words. Plain ones are stemmed together, each at its place; others alone, since PostgreSQL may see
    several words in one, or none."""
    together = [*plain, *(word for word in others.difference(plain) if _PLAIN.fullmatch(word))]
    alone = sorted(others.difference(together))
    parameters = {
        "language": language,
        "texts": [" ".join(together[at : at + _WORDS_A_TEXT]) for at in range(0, len(together), _WORDS_A_TEXT)],
        "words_a_text": _WORDS_A_TEXT,
        "alone": alone,
    }
    async with connection.cursor(binary=True) as cursor:
        row = await (await cursor.execute(statement("words", "stems"), parameters)).fetchone()
        assert row is not None
        places, terms = row
        stems = {together[place]: (term,) for place, term in zip(places or (), terms or (), strict=True)}
        if alone:
            rows = await cursor.execute(statement("words", "stems_of_each"), parameters)
            stems |= {alone[place]: tuple(terms) for place, terms in await rows.fetchall()}
    return stems


async def _wholes(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    if not names:
        return {}
    async with connection.cursor(binary=True) as cursor:
        row = await (await cursor.execute(statement("words", "names"), {"names": names})).fetchone()
    assert row is not None
    return dict(zip(names, row[0], strict=True))
