-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: insert_languages
-- So that questions are stemmed in these languages too.
INSERT INTO word_language SELECT unnest(%(languages)s::text[])::regconfig ON CONFLICT DO NOTHING

-- name: languages
-- Their numbers.
SELECT language, language::regconfig::oid FROM unnest(%(languages)s::text[]) AS language

-- name: stems
-- The terms of words that stand in texts of so many each, with their places among all of them.
SELECT array_agg(((text - 1) * %(words_a_text)s + position - 1)::integer), array_agg(term_id(lexeme))
FROM unnest(%(texts)s::text[]) WITH ORDINALITY AS texts (written, text)
CROSS JOIN LATERAL unnest(to_tsvector(%(language)s::regconfig, written)) AS stem
CROSS JOIN LATERAL unnest(positions) AS position

-- name: stems_of_each
-- The terms of words that are read alone.
SELECT (place - 1)::integer, array_agg(term_id(lexeme))
FROM unnest(%(alone)s::text[]) WITH ORDINALITY AS words (written, place)
CROSS JOIN LATERAL unnest(to_tsvector(%(language)s::regconfig, written)) AS stem
CROSS JOIN LATERAL unnest(positions) AS position
GROUP BY place

-- name: names
-- The terms of names that are not to be stemmed.
SELECT array_agg(term_id(name) ORDER BY place) FROM unnest(%(names)s::text[]) WITH ORDINALITY AS name (name, place)

-- name: copy
-- The words of chunks.
COPY words (chunk_id, source_id, language, impacts) FROM STDIN WITH (FORMAT BINARY)

-- name: forget
-- The words of a source.
DELETE FROM words WHERE source_id = %(source_id)s

-- name: chunks_of
-- What the words of a source are made of.
SELECT chunk.id, source.title, words.language::text, chunk.heading, chunk_text.text
FROM source
JOIN chunk ON chunk.source_id = source.id
JOIN chunk_text ON chunk_text.chunk_id = chunk.id
JOIN words ON words.chunk_id = chunk.id
WHERE source.id = %(source_id)s

-- name: sample_due
-- Whether the shares of the keys are missing or of another time; at most one process takes a sample.
SELECT chunks
FROM (SELECT coalesce(sum(chunk_count), 0)::bigint AS chunks FROM source WHERE access_set_id IS NOT NULL) AS counted
WHERE chunks >= %(least)s
  AND NOT EXISTS (SELECT FROM word_sample WHERE counted.chunks BETWEEN 0.8 * word_sample.chunks AND 1.25 * word_sample.chunks)
  AND pg_try_advisory_xact_lock(%(lock)s)

-- name: forget_shares
-- The sample of another time.
DELETE FROM word_share

-- name: sample_shares
-- The share of chunks that hold a key. What is met less than five times is too rare to be known from a sample.
WITH sampled AS MATERIALIZED (
    SELECT impacts FROM words TABLESAMPLE SYSTEM (%(percent)s)
)
INSERT INTO word_share (key, share)
SELECT key, count(*)::float8 / (SELECT count(*) FROM sampled)
FROM sampled CROSS JOIN LATERAL unnest(word_keys(impacts)) AS key
GROUP BY key HAVING count(*) >= 5

-- name: note_sample
-- When it is due again depends on this.
INSERT INTO word_sample (chunks) VALUES (%(chunks)s) ON CONFLICT (only_row) DO UPDATE SET chunks = excluded.chunks
