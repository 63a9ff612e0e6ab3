-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: take
-- Take a lease that is free, has ended, or is ours already.
INSERT INTO lease (name, holder, until) VALUES (%(name)s, %(holder)s, now() + %(lease)s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE lease.until < now() OR lease.holder = excluded.holder
RETURNING name

-- name: give_back
-- Others need not wait for its end.
DELETE FROM lease WHERE name = %(name)s AND holder = %(holder)s

-- name: held
-- Whether somebody is at work.
SELECT name FROM lease WHERE name = %(name)s AND until >= now()
