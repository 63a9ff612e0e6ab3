-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: delete
-- The version that answered until now; texts, words and vectors go with their chunks.
DELETE FROM chunk WHERE source_id = %(source_id)s

-- name: insert
-- The chunks of a new version.
INSERT INTO chunk (source_id, ordinal, page, sheet, slide, heading)
SELECT %(source_id)s, *
FROM unnest(%(ordinals)s::int[], %(pages)s::int[], %(sheets)s::text[], %(slides)s::int[], %(headings)s::text[])
RETURNING id, ordinal

-- name: insert_texts
-- Their texts.
INSERT INTO chunk_text (chunk_id, text) SELECT * FROM unnest(%(ids)s::bigint[], %(texts)s::text[])

-- name: insert_languages
-- So that questions are stemmed in these languages too.
INSERT INTO word_language SELECT unnest(%(languages)s::text[])::regconfig ON CONFLICT DO NOTHING

-- name: insert_words
-- Their words: of the title as it is now (it may have changed since the source was claimed) and of the text.
INSERT INTO words (chunk_id, source_id, language, tsv, length)
SELECT chunk.id, source.id, chunk.language, stems.tsv, length(stems.tsv)
FROM unnest(%(ids)s::bigint[], %(languages)s::regconfig[]) AS chunk (id, language)
JOIN chunk_text ON chunk_text.chunk_id = chunk.id
JOIN source ON source.id = %(source_id)s
CROSS JOIN LATERAL (
    SELECT title_words(chunk.language, source.title) || to_tsvector(chunk.language, chunk_text.text) AS tsv
) AS stems
RETURNING length

-- name: copy_vectors
-- Their vectors.
COPY {embedding} (chunk_id, source_id, v) FROM STDIN WITH (FORMAT BINARY)
