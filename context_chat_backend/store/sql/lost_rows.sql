-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: read
-- Whether rows were asked for, and when some may have been lost.
SELECT name, value FROM setting WHERE name IN (%(asked)s, %(lost)s)

-- name: forget
-- Neither any more.
DELETE FROM setting WHERE name = %(name)s
