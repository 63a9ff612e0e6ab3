-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: remember_each
-- Keep actions, in their order, for those of their sources that are not known (yet), and for those delivered as they
-- were composed.
INSERT INTO action_log (realm, kind, ref, readers, known)
SELECT %(realm)s, step.kind, step.ref, ARRAY(SELECT jsonb_array_elements_text(step.readers::jsonb)),
    source.id IS NOT NULL
FROM unnest(%(kinds)s::text[], %(refs)s::text[], %(readers)s::text[], %(composed)s::boolean[])
    WITH ORDINALITY AS step (kind, ref, readers, composed, place)
LEFT JOIN source ON source.realm = %(realm)s AND source.ref = step.ref
WHERE source.id IS NULL OR step.composed
ORDER BY step.place

-- name: outcomes
-- The sources whose readers change, and the digests of the readers they come to have.
WITH difference AS (
    SELECT source.id, source.ref, source.access_set_id, named.replaces,
        coalesce(sum(CASE WHEN named.adds THEN principal.hash ELSE - principal.hash END)
                 FILTER (WHERE named.adds = (member.principal_id IS NULL)), 0) AS difference
    FROM unnest(%(refs)s::text[], %(replaces)s::boolean[], %(principals)s::bigint[], %(adds)s::boolean[])
        AS named (ref, replaces, principal_id, adds)
    JOIN source ON source.realm = %(realm)s AND source.ref = named.ref AND source.state <> 'gone'
    JOIN principal ON principal.id = named.principal_id
    LEFT JOIN access_member AS member
        ON NOT named.replaces
        AND member.access_set_id = source.access_set_id AND member.principal_id = named.principal_id
    GROUP BY source.id, named.replaces
), outcome AS (
    SELECT difference.id, ref, access_set_id, digest AS old,
        CASE WHEN replaces THEN 0 ELSE digest END + difference AS new
    FROM difference JOIN access_set ON access_set.id = access_set_id
)
SELECT id, ref, access_set_id, new FROM outcome WHERE old <> new ORDER BY id

-- name: used_by_others
-- Which of these sets more sources use than so many.
SELECT id FROM unnest(%(sets)s::bigint[], %(counts)s::bigint[]) AS used (id, count)
WHERE EXISTS (SELECT FROM source WHERE access_set_id = used.id OFFSET used.count)

-- name: create_sets
-- Sets that are wanted and do not exist, without members for the moment; their digests.
INSERT INTO access_set (digest)
SELECT digest FROM unnest(%(digests)s::numeric[]) AS digest
ON CONFLICT (digest) DO NOTHING
RETURNING digest

-- name: copy_members
-- Fill new sets with the members of others.
INSERT INTO access_member (access_set_id, principal_id)
SELECT copy.id, member.principal_id
FROM unnest(%(olds)s::bigint[], %(digests)s::numeric[]) AS wanted (old, digest)
JOIN access_set AS copy ON copy.digest = wanted.digest
JOIN access_member AS member ON member.access_set_id = wanted.old

-- name: add_members
-- New members of sets, which are named by the digest they have with them.
INSERT INTO access_member (access_set_id, principal_id)
SELECT access_set.id, wanted.principal_id
FROM unnest(%(digests)s::numeric[], %(principals)s::bigint[]) AS wanted (digest, principal_id)
JOIN access_set ON access_set.digest = wanted.digest
ON CONFLICT DO NOTHING

-- name: remove_members
-- Members that leave sets, which are named by the digest they have without them.
DELETE FROM access_member
USING unnest(%(digests)s::numeric[], %(principals)s::bigint[]) AS wanted (digest, principal_id)
JOIN access_set ON access_set.digest = wanted.digest
WHERE access_member.access_set_id = access_set.id AND access_member.principal_id = wanted.principal_id

-- name: repoint
-- Point sources to the sets that hold their new readers.
UPDATE source SET access_set_id = access_set.id
FROM unnest(%(sources)s::bigint[], %(digests)s::numeric[]) AS wanted (id, digest)
JOIN access_set ON access_set.digest = wanted.digest
WHERE source.id = wanted.id

-- name: point
-- Give sources one set of readers.
UPDATE source SET access_set_id = %(access_set_id)s WHERE id = ANY (%(sources)s::bigint[])
