-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: snapshot
-- All that is read from now on is of this moment, whatever is written meanwhile.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: hold
-- Nobody drops this one until the end.
LOCK TABLE {table} IN ACCESS SHARE MODE

-- name: columns
-- The columns of a table, but those that are reckoned.
SELECT attname FROM pg_attribute
WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum

-- name: copy_out
-- Its rows.
COPY {table} ({columns}) TO STDOUT WITH (FORMAT {format})

-- name: copy_in
-- And back.
COPY {table} ({columns}) FROM STDIN WITH (FORMAT {format})

-- name: counts
-- What people want to know of a backup.
SELECT (SELECT count(*) FROM source WHERE state <> 'gone'), (SELECT count(*) FROM chunk)

-- name: users
-- Who else is connected as this role.
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND backend_type = 'client backend'

-- name: sources
-- How much would be replaced.
SELECT count(*) FROM source WHERE state <> 'gone'

-- name: searches
-- The functions that search embedding spaces: the next start makes them.
SELECT oid::regprocedure::text FROM pg_proc
WHERE proname ~ '^passages_[0-9]+$' AND pronamespace = current_schema()::regnamespace

-- name: space_tables
-- The tables of embedding spaces, their tails too.
SELECT relname FROM pg_class
WHERE relname ~ '^embedding_[0-9]+(_tail)?$' AND relkind = 'r' AND relnamespace = current_schema()::regnamespace

-- name: guarded
-- Tables with row-level security: COPY does not know it, so that it is off while they are filled.
SELECT oid::regclass::text FROM pg_class WHERE relforcerowsecurity AND oid::regclass::text = ANY (%(tables)s)

-- name: identities
-- Columns that number their rows.
SELECT attrelid::regclass::text, attname, pg_get_serial_sequence(attrelid::regclass::text, attname)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE attidentity <> '' AND relkind = 'r' AND attrelid::regclass::text = ANY (%(tables)s)

-- name: go_on_numbering
-- The next number is one nobody has.
SELECT setval(%(sequence)s, greatest((SELECT max({column}) FROM {table}), 1))

-- name: without_vectors
-- All chunks are to be embedded again.
UPDATE embedding_space SET complete = false
