-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: reason
-- Why the last attempt on this version ended; nobody changes it until this transaction ends.
SELECT reason FROM source WHERE id = %(id)s AND version = %(version)s AND state = 'waiting' FOR UPDATE

-- name: enter
-- Final for this version: it is not even tried when the same is delivered again. The bytes stay, to be let out with it.
WITH entered AS (
    UPDATE source SET state = 'quarantined', reason = %(reason)s, priority = 0, leased_until = NULL,
        settled_at = now(), indexed_modified_at = NULL, content_digest = NULL, chunk_count = 0
    WHERE id = %(id)s RETURNING id
)
DELETE FROM chunk USING entered WHERE source_id = entered.id
