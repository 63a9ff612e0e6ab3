-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: around
-- Chunks by id, with those that stand up to so many places before and after them in the same source, where the asker
-- may read it; row-level security looks once more.
WITH hit AS MATERIALIZED ( -- borders are reckoned here: a sum is not leakproof, so it would come after the policy below
    SELECT source.id AS source_id, source.ref, ordinal - %(before)s::int AS first, ordinal + %(after)s::int AS last
    FROM chunk
    JOIN source ON source.id = chunk.source_id
    JOIN access_member USING (access_set_id)
    JOIN principal ON principal.id = access_member.principal_id
    WHERE chunk.id = ANY (%(chunk_ids)s::bigint[])
      AND principal.realm = %(asker_realm)s AND principal.name = %(name)s
      AND source.realm = %(realm)s AND source.ref IS NOT NULL
)
SELECT DISTINCT near.id, hit.ref, near.ordinal, near.page, near.sheet, near.slide, near.heading, chunk_text.text
FROM hit
JOIN chunk AS near ON near.source_id = hit.source_id AND near.ordinal BETWEEN hit.first AND hit.last
JOIN chunk_text ON chunk_text.chunk_id = near.id
ORDER BY hit.ref, near.ordinal
