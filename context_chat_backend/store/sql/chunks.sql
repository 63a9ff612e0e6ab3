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

-- name: copy_vectors
-- Their vectors.
COPY {embedding} (chunk_id, source_id, v) FROM STDIN WITH (FORMAT BINARY)

-- name: without_vector
-- Chunks that are to be embedded in a space, by id. The lower bound stands twice, so that neither side is read from its
-- beginning.
SELECT chunk.id, source.title, chunk.page, chunk.sheet, chunk.slide, chunk.heading, chunk_text.text
FROM (SELECT words.chunk_id FROM words
      WHERE words.chunk_id > %(after)s
        AND NOT EXISTS (SELECT FROM {embedding} AS embedding
                        WHERE embedding.chunk_id = words.chunk_id AND embedding.chunk_id > %(after)s)
      ORDER BY words.chunk_id LIMIT %(limit)s) AS missing
JOIN chunk ON chunk.id = missing.chunk_id
JOIN chunk_text ON chunk_text.chunk_id = missing.chunk_id
JOIN source ON source.id = chunk.source_id
ORDER BY chunk.id

-- name: add_vectors
-- Their vectors, where the chunks are there still; whoever deletes some is not waited for.
INSERT INTO {embedding} (chunk_id, source_id, v)
SELECT chunk.id, chunk.source_id, embedded.v
FROM unnest(%(ids)s::bigint[], %(vectors)s::halfvec[]) AS embedded (id, v)
JOIN chunk ON chunk.id = embedded.id
FOR KEY SHARE OF chunk SKIP LOCKED
ON CONFLICT (chunk_id) DO NOTHING
