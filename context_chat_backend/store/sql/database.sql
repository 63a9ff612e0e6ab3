-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: maintenance
-- The program itself reads all texts until the end of this transaction.
SELECT set_config('context_chat.principals', '{0}', true)

-- name: clock
-- What time it is there.
SELECT clock_timestamp()

-- name: versions
-- What runs here, for `doctor`.
SELECT 'postgresql', current_setting('server_version')
UNION ALL
SELECT extname, extversion FROM pg_extension WHERE extname = 'vector'

-- name: guards_rows
-- Whether row-level security binds the role of the program.
SELECT NOT (rolsuper OR rolbypassrls) FROM pg_roles WHERE rolname = current_user

-- name: setting
-- One shared setting.
SELECT value FROM setting WHERE name = %(name)s

-- name: set_setting
-- Write one shared setting.
INSERT INTO setting (name, value) VALUES (%(name)s, %(value)s)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
