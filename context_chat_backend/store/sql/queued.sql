-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: now
-- The clock that everything here is compared by.
SELECT clock_timestamp()

-- name: keep
-- Rows as they were leased.
INSERT INTO leased_row (queue, row_id, payload, readers_since)
SELECT queue, row_id, payload, %(readers_since)s
FROM unnest(%(queues)s::text[], %(ids)s::bigint[], %(payloads)s::text[]) AS row (queue, row_id, payload)
ON CONFLICT (queue, row_id) DO UPDATE SET payload = excluded.payload, readers_since = excluded.readers_since

-- name: kept
-- Rows that are still to be admitted. Content of apps was submitted before the actions were read that were leased with
-- it; files were listed after them.
SELECT queue, row_id, payload, readers_since FROM leased_row
ORDER BY array_position(ARRAY['content_providers', 'actions', 'files'], queue), row_id LIMIT %(limit)s

-- name: settle
-- Rows whose effect is part of this transaction, or was committed before.
WITH settled AS (
    DELETE FROM leased_row USING unnest(%(queues)s::text[], %(ids)s::bigint[]) AS row (queue, row_id)
    WHERE leased_row.queue = row.queue AND leased_row.row_id = row.row_id
)
INSERT INTO acknowledgement (queue, row_id)
SELECT * FROM unnest(%(queues)s::text[], %(ids)s::bigint[])
ON CONFLICT DO NOTHING

-- name: unacknowledged
-- Rows Nextcloud is still to be told of.
SELECT queue, row_id FROM acknowledgement ORDER BY queue, row_id LIMIT %(limit)s

-- name: acknowledged
-- Nextcloud knows.
DELETE FROM acknowledgement USING unnest(%(queues)s::text[], %(ids)s::bigint[]) AS row (queue, row_id)
WHERE acknowledgement.queue = row.queue AND acknowledgement.row_id = row.row_id
