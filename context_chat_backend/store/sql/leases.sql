-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: take
-- Take a lease that is free or has ended, or that we could not give back; one that would last for so long was written by
-- a clock that has been set back.
INSERT INTO lease (name, holder, until) VALUES (%(name)s, %(holder)s, now() + %(lease)s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE lease.until < now() OR lease.holder = %(former)s OR lease.until > now() + 2 * %(lease)s
RETURNING name

-- name: prolong
-- Keep a lease nobody else has taken, even one that has ended.
UPDATE lease SET until = now() + %(lease)s WHERE name = %(name)s AND holder = %(holder)s
RETURNING name

-- name: still_ours
-- Whether nobody else has taken it, and nobody does before this transaction ends.
SELECT name FROM lease WHERE name = %(name)s AND holder = %(holder)s FOR SHARE

-- name: give_back
-- Others need not wait for its end.
DELETE FROM lease WHERE name = %(name)s AND holder = %(holder)s

-- name: held
-- Whether somebody is at work.
SELECT name FROM lease WHERE name = %(name)s AND until >= now()
