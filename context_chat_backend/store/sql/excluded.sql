-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: some
-- What a rule may speak of.
SELECT id, title, media_type, provider, size, modified_at FROM source
WHERE id > %(after)s AND state IN ('waiting', 'indexed')
ORDER BY id LIMIT %(limit)s

-- name: reject
-- They answer no more; a worker's result for one of them is dropped.
UPDATE source SET state = 'rejected', reason = %(reason)s, priority = 0, leased_until = NULL, settled_at = now(),
    indexed_modified_at = NULL, content_digest = NULL, chunk_count = 0
WHERE id = ANY (%(ids)s::bigint[]) AND state IN ('waiting', 'indexed')

-- name: drop
-- What they leave behind.
WITH rejected AS (SELECT id FROM source WHERE id = ANY (%(ids)s::bigint[]) AND state = 'rejected'),
    spooled AS (DELETE FROM spool USING rejected WHERE source_id = rejected.id)
DELETE FROM chunk USING rejected WHERE source_id = rejected.id
