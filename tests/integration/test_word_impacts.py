# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the word index holds is what PostgreSQL's own parser and stemmers make of a text."""

from __future__ import annotations

import random

import pytest

from context_chat_backend.store.database import Connection, Database
from context_chat_backend.store.words import WrittenChunk, find_words
from context_chat_backend.words import found_in, taken_apart

TEXTS = {
    "english": "The Meeting of the meetings met at 10:30 in room B12, see INV-2024-0042 or https://example.org/a_b?x=1.\n"
    "We're running; runners ran 1e5 miles in 3.5h -7 °C. <b>not</b> a tag & more, e.g. U.S.A. O'Neill's http ftp www",
    "german": "Die Versicherungspolice für größere Häuser lag in der Straßenbahn. ½ Liter, 10² Meter, №5, ﬁnden, Ⅻ.",
    "russian": "Договоры подписаны в Москве; договор №42 о поставке. Ёлка и ещё ёлки",
    "turkish": "İstanbul'da IŞIK ve ışıklar, ılık sular. TÜRKİYE",
    "arabic": "اجتماع المجلس في الساعة ١٠:٣٠ مع الأعضاء. كتاب والكتب",
    "hindi": "परियोजना की बैठक १२ बजे होगी। हिन्दी में",
    "simple": "東京都の天気 and ไทย text 水 ＡＢＣ－１ naïve e\u0301 a\u200db \u0345 ǅ ß ŉ ꞵ 𝔘ni 🙂 _ __x__ x²y",
    "french": "L’école d'été n'est-elle pas là? Aujourd'hui c’était grand-mère, rendez-vous.",
}

# As store/impacts.py says it, by the database itself.
ORACLE = """
SELECT coalesce('{' || string_agg(term || ':' || round(
        2200 * frequency / (frequency + 0.3 + 0.9 * length / 80)) / 1000, ',' ORDER BY term) || '}/1000000000',
    '{}/1000000000')::sparsevec::text
FROM (SELECT term, sum(frequency)::float8 AS frequency, count(*) OVER () AS length
      FROM (SELECT term_id(lexeme) AS term, cardinality(positions) AS frequency
            FROM unnest(to_tsvector(%(language)s::regconfig, %(written)s))
            UNION ALL
            SELECT term_id(name), 1 FROM unnest(%(names)s::text[]) AS name) AS found
      GROUP BY term) AS counted
"""


async def expected(connection: Connection, chunk: WrittenChunk) -> str:
    written: list[str] = []
    names: list[str] = []
    for text in (chunk.title, f"{chunk.heading or ''}\n{chunk.text}"):
        found = found_in(text)
        names += found.pairs
        for name in found.names:
            words, whole = taken_apart(name, chunk.language)
            written += words
            names += [] if whole is None else [whole]
    parameters = {"language": chunk.language, "written": " ".join(written), "names": names}
    row = await (await connection.execute(ORACLE, parameters)).fetchone()
    assert row is not None
    return str(row[0])


async def found(connection: Connection, chunks: list[WrittenChunk]) -> list[str]:
    made = await find_words(connection, chunks)
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE TEMPORARY TABLE made (number integer, impacts sparsevec) ON COMMIT DROP")
        async with cursor.copy("COPY made FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "bytea"])
            for number, words in enumerate(made):
                await copy.write_row((number, words.impacts))
        await cursor.execute("SELECT impacts::text FROM made ORDER BY number")
        return [text for (text,) in await cursor.fetchall()]


def made_up(random: random.Random, language: str) -> WrittenChunk:
    """A chunk of words, signs and characters of all kinds, some of them words of others."""
    letters = "aäÀßıİжЖ٣५漢ไ½²№_'’-.@/ \n09Z\u0301\u00ad"
    words = "\n".join(TEXTS.values()).split()
    pieces = [random.choice([random.choice(words), "".join(random.choices(letters, k=6))]) for _ in range(120)]
    return WrittenChunk("files/Über_Plan2024.txt", language, random.choice([None, "Heading 1"]), " ".join(pieces))


@pytest.mark.parametrize("seed", range(6))
async def test_terms_remembered_by_word_give_what_the_text_as_a_whole_gives(database: Database, seed: int) -> None:
    random_ = random.Random(seed)
    chunks = [WrittenChunk("files/Notes/Plan_b.md", language, "Über uns", text) for language, text in TEXTS.items()]
    chunks += [made_up(random_, language) for language in TEXTS]
    chunks += [WrittenChunk("", "english", None, "the of"), WrittenChunk("", "english", None, "word " * 200)]
    async with database.transaction() as connection:
        first = await found(connection, chunks)
        assert first == [await expected(connection, chunk) for chunk in chunks]
    async with database.transaction() as connection:
        assert await found(connection, chunks[::-1]) == first[::-1]
