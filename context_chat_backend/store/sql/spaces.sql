-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: alone
-- The set of live spaces changes: nobody stores vectors until this transaction ends.
SELECT pg_advisory_xact_lock(%(lock)s)

-- name: together
-- Vectors are stored: the set of live spaces stays as it is until this transaction ends.
SELECT pg_advisory_xact_lock_shared(%(lock)s)

-- name: impatient
-- Whoever waits for a lock lets others wait behind it: better to try again later.
SELECT set_config('lock_timeout', '100ms', true)

-- name: live
-- The spaces that receive new chunks.
SELECT id FROM embedding_space WHERE state <> 'retired'

-- name: all
-- All spaces; the one that answers first, then the one that is being filled.
SELECT id, model, dimension, question_prefix, passage_prefix, embedder, state, complete FROM embedding_space
ORDER BY array_position(ARRAY['answering', 'filling', 'retired'], state), id

-- name: find
-- A space by its conditions.
SELECT id, state FROM embedding_space
WHERE model = %(model)s AND dimension = %(dimension)s
  AND question_prefix = %(question_prefix)s AND passage_prefix = %(passage_prefix)s

-- name: create
-- A new space. The first one answers; it is complete while nothing is indexed.
INSERT INTO embedding_space (model, dimension, question_prefix, passage_prefix, state, complete)
SELECT %(model)s, %(dimension)s, %(question_prefix)s, %(passage_prefix)s,
    CASE WHEN EXISTS (SELECT FROM embedding_space WHERE state = 'answering') THEN 'filling' ELSE 'answering' END,
    NOT EXISTS (SELECT FROM words)
RETURNING id, state

-- name: create_table
-- The vectors of a new space. They are of length 1, so that the inner product is the cosine.
CREATE TABLE {embedding} (
    chunk_id bigint PRIMARY KEY REFERENCES chunk ON DELETE CASCADE,
    source_id bigint NOT NULL,
    v halfvec({dimension}) NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX {by_source} ON {embedding} (source_id)

-- name: create_index
-- Of an empty table at once. Of one that is filled first, afterwards: sql/indexes.sql.
CREATE INDEX {by_meaning} ON {embedding} USING hnsw (v halfvec_ip_ops)

-- name: create_tail
-- Vectors that came a moment ago. Whoever reads the vectors of the space reads these too, one by one, since the index
-- takes a vector ten times more slowly than a table does; they move to the index in the background (sql/tails.sql).
CREATE TABLE IF NOT EXISTS {tail} (
    PRIMARY KEY (chunk_id),
    FOREIGN KEY (chunk_id) REFERENCES chunk ON DELETE CASCADE
) INHERITS ({embedding}) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);
CREATE INDEX IF NOT EXISTS {tail_by_source} ON {tail} (source_id)

-- name: function_digest
-- Of what text the function that searches a space was made.
SELECT obj_description(to_regproc(%(function)s), 'pg_proc')

-- name: note_digest
-- The next start looks at it.
COMMENT ON FUNCTION {function} IS {digest}

-- name: remember_embedder
-- How its embedder is built.
UPDATE embedding_space SET embedder = %(embedder)s WHERE id = %(id)s

-- name: retire_others
-- What was being filled is not wanted any more.
UPDATE embedding_space SET state = 'retired', retired_at = now() WHERE state = 'filling' AND id <> %(id)s

-- name: revive
-- It is wanted again before it was dropped; what came meanwhile is missing.
UPDATE embedding_space SET state = 'filling', complete = false, retired_at = NULL
WHERE id = %(id)s AND state = 'retired'

-- name: incomplete
-- Chunks were stored without a vector in it.
UPDATE embedding_space SET complete = false WHERE id = %(id)s AND complete

-- name: lacks_vectors
-- Whether there is a chunk this space has no vector of.
SELECT EXISTS (
    SELECT FROM words WHERE NOT EXISTS (SELECT FROM {embedding} WHERE {embedding}.chunk_id = words.chunk_id))

-- name: step_back
-- Another space is going to answer.
UPDATE embedding_space SET state = 'retired', retired_at = now() WHERE state = 'answering' AND id <> %(id)s

-- name: step_forward
-- It has all vectors, and answers.
UPDATE embedding_space SET state = 'answering', complete = true, chunks_per_second = NULL WHERE id = %(id)s

-- name: note_rate
-- For those who ask how long it will take.
UPDATE embedding_space SET chunks_per_second = %(rate)s WHERE id = %(id)s

-- name: done
-- How many chunks have a vector in it, of how many, and how fast others get one.
SELECT (SELECT count(*) FROM {embedding}), (SELECT count(*) FROM words), chunks_per_second
FROM embedding_space WHERE id = %(id)s

-- name: ripe
-- Spaces nobody has searched for a while.
SELECT id FROM embedding_space WHERE state = 'retired' AND retired_at < now() - %(grace)s

-- name: lock_chunks
-- Dropping what refers to chunks needs them for a moment; taken first, as everywhere, so that nobody waits crosswise.
LOCK TABLE chunk IN ACCESS EXCLUSIVE MODE

-- name: lock_vectors
-- Nobody waits for who builds its index or vacuums it, while all others wait for the chunks.
LOCK TABLE {embedding} IN ACCESS EXCLUSIVE MODE NOWAIT

-- name: drop
-- A space nobody uses.
DROP TABLE {tail}, {embedding}

-- name: forget
-- Its row.
DELETE FROM embedding_space WHERE id = %(id)s
