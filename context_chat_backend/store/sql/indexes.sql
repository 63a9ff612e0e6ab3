-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: drop
-- Before a bulk load: filling tables without these indexes and building them once is many times faster.
DROP INDEX IF EXISTS {index}

-- name: patience
-- How long a lock is waited for; without an end where that is 0.
SELECT set_config('lock_timeout', %(patience)s, false)

-- name: build_vectors
-- The index that finds the nearest vectors. With a tenth of a million chunks visible, a graph built with 200 candidates
-- finds 98 % where one built with 128 finds 97 %, and one with 64 finds 91 % (docs/decisions/search.md).
CREATE INDEX CONCURRENTLY {index} ON {embedding} USING hnsw (v halfvec_ip_ops) WITH (ef_construction = 200)

-- name: insert_fast
-- From now on vectors come one by one, and each candidate costs time.
ALTER INDEX {index} SET (ef_construction = 64)

-- name: build_words
-- The index that finds chunks by words.
CREATE INDEX CONCURRENTLY words_by_key ON words USING gin (word_keys(impacts))

-- name: state
-- Whether an index is there and may be used: NULL, false or true.
SELECT (SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(index)s))

-- name: memory
-- What a build may use, and by how many workers beside itself.
SELECT set_config('maintenance_work_mem', %(memory)s, false),
    set_config('max_parallel_maintenance_workers', %(workers)s, false)

-- name: bloat
-- Tables of which more than a fifth is dead rows.
SELECT relname, n_dead_tup FROM pg_stat_user_tables
WHERE n_dead_tup > 10000 AND n_dead_tup > 0.25 * n_live_tup ORDER BY n_dead_tup DESC

-- name: probes
-- Some vectors to ask for their neighbours.
SELECT v FROM {embedding} TABLESAMPLE SYSTEM (%(percent)s) LIMIT %(count)s

-- name: nearest_by_index
-- The neighbours as a search finds them.
SELECT array_agg(chunk_id) FROM (SELECT chunk_id FROM {embedding} ORDER BY v <#> %(vector)s::halfvec LIMIT 10) AS found

-- name: nearest
-- The neighbours in truth.
SELECT array_agg(chunk_id)
FROM (SELECT chunk_id FROM {embedding} ORDER BY (v <#> %(vector)s::halfvec) + 0 LIMIT 10) AS found
