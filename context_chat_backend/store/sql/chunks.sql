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
