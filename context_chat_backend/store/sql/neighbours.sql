-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: around
-- Chunks by id, with those that stand up to so many places before and after them in the same source, where the asker
-- may read it; row-level security looks once more.
-- Each chunk is looked up by itself (OFFSET 0 keeps it so): joined freely, all sources of the asker would be read.
WITH hit AS MATERIALIZED ( -- borders are reckoned here: a sum is not leakproof, so it would come after the policy below
    SELECT its.id AS source_id, its.ref, found.ordinal - %(before)s::int AS first, found.ordinal + %(after)s::int AS last
    FROM unnest(%(chunk_ids)s::bigint[]) AS wanted (id)
    CROSS JOIN LATERAL (SELECT source_id, ordinal FROM chunk WHERE chunk.id = wanted.id OFFSET 0) AS found
    CROSS JOIN LATERAL (
        SELECT source.id, source.ref FROM source
        WHERE source.id = found.source_id AND source.realm = %(realm)s AND source.ref IS NOT NULL
          AND EXISTS (SELECT FROM principal JOIN access_member ON principal_id = principal.id
                      WHERE principal.realm = %(asker_realm)s AND principal.name = %(name)s
                        AND access_member.access_set_id = source.access_set_id)
        OFFSET 0) AS its
)
SELECT DISTINCT near.id, hit.ref, near.ordinal, near.page, near.sheet, near.slide, near.heading, chunk_text.text
FROM hit
JOIN chunk AS near ON near.source_id = hit.source_id AND near.ordinal BETWEEN hit.first AND hit.last
JOIN chunk_text ON chunk_text.chunk_id = near.id
ORDER BY hit.ref, near.ordinal
