-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: take
-- In work from now on.
INSERT INTO task (id, holder, until) VALUES (%(id)s, %(holder)s, clock_timestamp() + %(lease)s)
ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, until = excluded.until, result = NULL

-- name: prolong
-- This process lives.
UPDATE task SET until = clock_timestamp() + %(lease)s WHERE holder = %(holder)s

-- name: end
-- What Nextcloud is to be told.
UPDATE task SET result = %(result)s WHERE id = %(id)s

-- name: forget
-- Nextcloud knows, or nobody wants to.
DELETE FROM task WHERE id = %(id)s

-- name: orphans
-- Tasks of processes that are no more: taken over by this one, which tells Nextcloud. No lease lasts for twice its time,
-- but where the clock has been set back.
UPDATE task SET holder = %(holder)s, until = clock_timestamp() + %(lease)s,
    result = coalesce(result, %(result)s)
WHERE until < clock_timestamp() OR until > clock_timestamp() + 2 * %(lease)s

-- name: ended
-- What this process has to tell, oldest first.
SELECT id, result FROM task WHERE holder = %(holder)s AND result IS NOT NULL ORDER BY taken_at LIMIT %(limit)s

-- name: forget_old
-- Nextcloud has given up on these long ago.
DELETE FROM task WHERE taken_at < now() - interval '7 days'
