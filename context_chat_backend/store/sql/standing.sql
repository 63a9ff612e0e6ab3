-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: sources
-- Sources by state; those that wait by whether they are due ('waiting' then), in work, or wait after a failed attempt. How long the
-- oldest of them has been due, in seconds, how many bytes of them are in the spool, and how many chunks are indexed.
SELECT CASE
        WHEN state <> 'waiting' THEN state::text
        WHEN leased_until > now() THEN 'in_work'
        WHEN next_attempt_at > now() THEN 'delayed'
        ELSE 'waiting'
    END AS standing,
    count(*),
    coalesce(extract(epoch FROM now() - min(greatest(admitted_at, next_attempt_at))), 0)::float8,
    coalesce(sum(size) FILTER (WHERE state = 'waiting' AND NOT remote), 0)::bigint,
    coalesce(sum(chunk_count), 0)::bigint
FROM source WHERE state <> 'gone' GROUP BY standing

-- name: rest
-- Tasks in work, tasks whose results are still to be told, and the bytes of the database on its disk.
SELECT (SELECT count(*) FROM task WHERE result IS NULL), (SELECT count(*) FROM task WHERE result IS NOT NULL),
    pg_database_size(current_database())
