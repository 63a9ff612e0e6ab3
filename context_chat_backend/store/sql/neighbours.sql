-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: around
-- Chunks by id, with those that stand up to so many places before and after them in the same source, where the asker
-- may read it; row-level security looks once more.
SELECT DISTINCT near.id, source.ref, near.ordinal, near.page, near.sheet, near.slide, near.heading, chunk_text.text
FROM chunk AS hit
JOIN source ON source.id = hit.source_id
JOIN access_member USING (access_set_id)
JOIN principal ON principal.id = access_member.principal_id
JOIN chunk AS near ON near.source_id = hit.source_id
    AND near.ordinal BETWEEN hit.ordinal - %(before)s AND hit.ordinal + %(after)s
JOIN chunk_text ON chunk_text.chunk_id = near.id
WHERE hit.id = ANY (%(chunk_ids)s)
  AND principal.realm = %(realm)s AND principal.name = %(name)s
  AND source.realm = %(realm)s AND source.ref IS NOT NULL
ORDER BY source.ref, near.ordinal
