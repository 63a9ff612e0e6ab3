-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: has
-- Whether one of our tables is there.
SELECT to_regclass(%(table)s) IS NOT NULL

-- name: done
-- The steps this database has had, and who made them.
SELECT name, version FROM repair

-- name: note
-- Steps that need not be run any more.
INSERT INTO repair (name, version) SELECT unnest(%(names)s::text[]), %(version)s ON CONFLICT DO NOTHING
