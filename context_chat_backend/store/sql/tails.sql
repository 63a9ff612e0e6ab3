-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: size
-- How many vectors wait to be indexed.
SELECT count(*) FROM {tail}

-- name: index
-- Index some of them, oldest first. Their chunks are locked first, as by whoever deletes them.
WITH oldest AS MATERIALIZED (
    SELECT recent.chunk_id
    FROM {tail} AS recent JOIN chunk ON chunk.id = recent.chunk_id
    ORDER BY recent.chunk_id LIMIT %(limit)s
    FOR KEY SHARE OF chunk SKIP LOCKED
), moved AS (
    DELETE FROM {tail} AS recent USING oldest WHERE recent.chunk_id = oldest.chunk_id
    RETURNING recent.chunk_id, recent.source_id, recent.v
)
INSERT INTO {embedding} (chunk_id, source_id, v) SELECT * FROM moved
