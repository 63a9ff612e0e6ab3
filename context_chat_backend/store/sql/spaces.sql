-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: find
-- A space by its conditions.
SELECT id FROM embedding_space
WHERE model = %(model)s AND dimension = %(dimension)s
  AND question_prefix = %(question_prefix)s AND passage_prefix = %(passage_prefix)s

-- name: create
-- A new space.
INSERT INTO embedding_space (model, dimension, question_prefix, passage_prefix, state)
VALUES (%(model)s, %(dimension)s, %(question_prefix)s, %(passage_prefix)s, 'live')
RETURNING id

-- name: create_table
-- The vectors of a new space. They are of length 1, so that the inner product is the cosine.
CREATE TABLE {embedding} (
    chunk_id bigint PRIMARY KEY REFERENCES chunk ON DELETE CASCADE,
    source_id bigint NOT NULL,
    v halfvec({dimension}) NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX {by_source} ON {embedding} (source_id);
CREATE INDEX {by_meaning} ON {embedding} USING hnsw (v halfvec_ip_ops);

-- name: answering
-- The space that is searched.
SELECT model FROM embedding_space WHERE state = 'answering'

-- name: step_back
-- Another space is going to answer.
UPDATE embedding_space SET state = 'live' WHERE state = 'answering' AND id <> %(id)s

-- name: step_forward
-- The space that answers.
UPDATE embedding_space SET state = 'answering' WHERE id = %(id)s

-- name: without_vector
-- Chunks this space has no vector of.
SELECT count(*) FROM words WHERE NOT EXISTS (SELECT FROM {embedding} WHERE {embedding}.chunk_id = words.chunk_id)
