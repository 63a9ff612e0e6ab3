-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: delete
-- The versions that answered until now; texts, words and vectors go with their chunks.
DELETE FROM chunk WHERE source_id = ANY (%(source_ids)s)

-- name: draw_ids
-- Numbers for so many chunks.
SELECT nextval('chunk_id_seq') FROM generate_series(1, %(count)s)

-- name: insert
-- The chunks of new versions.
INSERT INTO chunk (id, source_id, ordinal, page, sheet, slide, heading, content)
SELECT * FROM unnest(%(ids)s::bigint[], %(source_ids)s::bigint[], %(ordinals)s::int[], %(pages)s::int[],
    %(sheets)s::text[], %(slides)s::int[], %(headings)s::text[], %(contents)s::uuid[])

-- name: insert_texts
-- Their texts.
INSERT INTO chunk_text (chunk_id, text) SELECT * FROM unnest(%(ids)s::bigint[], %(texts)s::text[])

-- name: copy_vectors
-- Their vectors, where they are searched at once and indexed later.
COPY {tail} (chunk_id, source_id, v) FROM STDIN WITH (FORMAT BINARY)

-- name: known_vectors
-- Vectors of chunks that say the same.
SELECT DISTINCT ON (chunk.content) chunk.content, embedding.v
FROM chunk JOIN {embedding} AS embedding ON embedding.chunk_id = chunk.id
WHERE chunk.content = ANY (%(contents)s::uuid[])
ORDER BY chunk.content, chunk.id

-- name: without_vector
-- Chunks that are to be embedded in a space, by id. The lower bound stands twice, so that neither side is read from its
-- beginning.
SELECT chunk.id, coalesce(source.ref LIKE '%%: qa:%%', false), source.title, chunk.page, chunk.sheet, chunk.slide, chunk.heading, chunk_text.text
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
