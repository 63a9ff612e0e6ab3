-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: columns
-- Every column that may name a user or hold a text, of every table of the program, whoever made it.
SELECT columns.table_schema, columns.table_name, columns.column_name,
    CASE WHEN columns.udt_name IN ('_text', '_varchar') THEN 'names'
         WHEN columns.udt_name = 'jsonb' THEN 'jsonb'
         WHEN columns.udt_name = 'bytea' THEN 'bytes'
         ELSE 'text' END,
    EXISTS (SELECT FROM information_schema.columns AS other
            WHERE other.table_schema = columns.table_schema AND other.table_name = columns.table_name
              AND other.column_name = 'realm')
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_type = 'BASE TABLE' AND columns.table_schema NOT IN ('pg_catalog', 'information_schema')
  AND columns.udt_name IN ('text', 'varchar', '_text', '_varchar', 'jsonb', 'bytea')
ORDER BY columns.table_schema, columns.table_name, columns.ordinal_position

-- name: naming
-- How many rows name a user in one of these columns.
SELECT count(*) FROM {table} WHERE {condition}

-- name: named_in_text
-- By itself, behind his realm, or as a value of JSON that is kept as it came.
({column} = %(name)s OR {column} = %(realm)s || ':' || %(name)s
 OR (starts_with({column}, '{{') AND position(to_json(%(name)s::text)::text IN {column}) > 0))

-- name: named_in_names
-- As one of several.
%(name)s = ANY ({column})

-- name: named_in_jsonb
-- As a value at whatever depth.
jsonb_path_exists({column}, '$.** ? (@ == $name)', jsonb_build_object('name', %(name)s::text))

-- name: of_realm
-- Names mean something within their realm alone; what is counted by itself stands behind it (`what:realm`).
({condition}) AND (realm = %(realm)s OR right(realm, length(%(realm)s) + 1) = ':' || %(realm)s)

-- name: held_in_text
-- Whether a text stands in it.
position(%(text)s IN {column}) > 0

-- name: held_in_names
-- In one of several.
EXISTS (SELECT FROM unnest({column}) AS one WHERE position(%(text)s IN one) > 0)

-- name: held_in_jsonb
-- As it is written in JSON.
(position(%(text)s IN {column}::text) > 0 OR position(trim('"' FROM to_json(%(text)s::text)::text) IN {column}::text) > 0)

-- name: held_in_bytes
-- As UTF-8.
position(convert_to(%(text)s, 'UTF8') IN {column}) > 0
