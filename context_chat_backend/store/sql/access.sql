-- SPDX-License-Identifier: AGPL-3.0-or-later
-- A selection of sources is (realm, provider, refs): NULL means "any". It is written out where it is used.

-- name: ensure_principals
-- Make names known.
INSERT INTO principal (realm, name, hash)
SELECT * FROM unnest(%(realms)s::text[], %(names)s::text[], %(hashes)s::numeric[])
ON CONFLICT (realm, name) DO NOTHING

-- name: known_principals
-- Ids of those names that are known.
SELECT principal.id, realm, name
FROM unnest(%(realms)s::text[], %(names)s::text[]) AS wanted (realm, name) JOIN principal USING (realm, name)

-- name: drop_sets_of
-- Sets these users are still members of; no source points to one any more when this is sent.
DELETE FROM access_set
WHERE id IN (SELECT access_set_id FROM access_member WHERE principal_id = ANY (%(ids)s::bigint[]))

-- name: forget_principals
-- A deleted user leaves no name behind.
DELETE FROM principal WHERE id = ANY (%(ids)s::bigint[])

-- name: forget_conversations
-- Nor what he asked and was answered.
DELETE FROM chat.conversations WHERE realm = %(realm)s AND name = %(name)s

-- name: forget_uses
-- Nor what he used.
DELETE FROM access.usage WHERE principal = %(realm)s || ':' || %(name)s

-- name: forget_asker
-- Nor how often he asked; what is counted by itself stands behind its own name (`what:realm`).
DELETE FROM access.askers
WHERE name = %(name)s AND (realm = %(realm)s OR right(realm, length(%(realm)s) + 1) = ':' || %(realm)s)

-- name: create_set
-- A set with these members, unless there is one already.
WITH created AS (
    INSERT INTO access_set (digest)
    SELECT sum(hash) FROM principal WHERE id = ANY (%(ids)s::bigint[]) HAVING count(*) > 0
    ON CONFLICT (digest) DO NOTHING
    RETURNING id
)
INSERT INTO access_member (access_set_id, principal_id)
SELECT created.id, principal_id FROM created, unnest(%(ids)s::bigint[]) AS principal_id

-- name: find_set
-- The set with these members.
SELECT id FROM access_set
WHERE digest = (SELECT sum(hash) FROM principal WHERE id = ANY (%(ids)s::bigint[]))

-- name: changes
-- The sets of the selected sources that an action changes: id, new digest, whether other sources use the set too.
WITH concerned AS (
    SELECT DISTINCT access_set_id AS id FROM source
    WHERE realm = %(realm)s AND state <> 'gone'
      AND (%(provider)s::text IS NULL OR provider = %(provider)s)
      AND (%(refs)s::text[] IS NULL OR ref = ANY (%(refs)s))
), renewed AS (
    SELECT concerned.id, access_set.digest AS old_digest,
        access_set.digest
        + (SELECT coalesce(sum(hash), 0) FROM principal
           WHERE principal.id = ANY (%(add)s::bigint[])
             AND NOT EXISTS (SELECT FROM access_member
                             WHERE access_set_id = concerned.id AND principal_id = principal.id))
        - (SELECT coalesce(sum(hash), 0) FROM principal
           WHERE principal.id = ANY (%(remove)s::bigint[])
             AND EXISTS (SELECT FROM access_member
                         WHERE access_set_id = concerned.id AND principal_id = principal.id)) AS new_digest
    FROM concerned JOIN access_set USING (id)
)
SELECT id, new_digest, EXISTS (
        SELECT FROM source
        WHERE source.access_set_id = renewed.id
          AND NOT (realm = %(realm)s
                   AND (%(provider)s::text IS NULL OR provider = %(provider)s)
                   AND (%(refs)s::text[] IS NULL OR ref = ANY (%(refs)s)))) AS shared
FROM renewed WHERE new_digest <> old_digest
ORDER BY id

-- name: existing_digests
-- Which of these sets exist.
SELECT digest FROM access_set WHERE digest = ANY (%(digests)s::numeric[])

-- name: set_digests
-- Rename sets that are changed in place.
UPDATE access_set SET digest = renewed.digest
FROM unnest(%(ids)s::bigint[], %(digests)s::numeric[]) AS renewed (id, digest)
WHERE access_set.id = renewed.id

-- name: add_members
-- New members of sets that are changed in place.
INSERT INTO access_member (access_set_id, principal_id)
SELECT * FROM unnest(%(sets)s::bigint[]) AS access_set_id, unnest(%(add)s::bigint[]) AS principal_id
ON CONFLICT DO NOTHING

-- name: remove_members
-- Members that leave sets that are changed in place.
DELETE FROM access_member
WHERE access_set_id = ANY (%(sets)s::bigint[]) AND principal_id = ANY (%(remove)s::bigint[])

-- name: copy_sets
-- Sets that are wanted and do not exist.
INSERT INTO access_set (digest)
SELECT digest FROM unnest(%(digests)s::numeric[]) AS digest
ON CONFLICT (digest) DO NOTHING

-- name: copy_members
-- Fill the copies: a set that has no members yet was made just now.
INSERT INTO access_member (access_set_id, principal_id)
SELECT copy.id, member.principal_id
FROM unnest(%(olds)s::bigint[], %(digests)s::numeric[]) AS wanted (old, digest)
JOIN access_set AS copy ON copy.digest = wanted.digest
JOIN LATERAL (
    SELECT principal_id FROM access_member
    WHERE access_set_id = wanted.old AND principal_id <> ALL (%(remove)s::bigint[])
    UNION SELECT unnest(%(add)s::bigint[])
) AS member ON true
WHERE NOT EXISTS (SELECT FROM access_member WHERE access_set_id = copy.id)

-- name: repoint
-- Point the selected sources of these sets to the sets that hold their new readers.
UPDATE source SET access_set_id = target.id
FROM unnest(%(olds)s::bigint[], %(digests)s::numeric[]) AS wanted (old, digest)
JOIN access_set AS target ON target.digest = wanted.digest
WHERE source.access_set_id = wanted.old
  AND realm = %(realm)s
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(refs)s::text[] IS NULL OR ref = ANY (%(refs)s))

-- name: point_targets
-- Give the selected sources one set of readers.
UPDATE source SET access_set_id = %(access_set_id)s
WHERE realm = %(realm)s AND state <> 'gone'
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(refs)s::text[] IS NULL OR ref = ANY (%(refs)s))

-- name: seek_again
-- Files that none of their readers could open are fetched in the names of those let in now. What an attempt that is
-- under way finds by the others is not final.
UPDATE source SET state = 'waiting', reason = NULL, attempts = 0, settled_at = NULL,
    next_attempt_at = CASE WHEN leased_until IS NULL THEN now() ELSE next_attempt_at END
WHERE realm = %(realm)s AND remote AND attempts > 0
  AND (state = 'waiting' OR state = 'rejected' AND reason = ANY (%(reasons)s))
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(refs)s::text[] IS NULL OR ref = ANY (%(refs)s))

-- name: bury_targets
-- Delete the selected sources: invisible from the commit on, swept later.
UPDATE source SET state = 'gone', ref = NULL, access_set_id = NULL, title = '', priority = 0
WHERE realm = %(realm)s AND state <> 'gone'
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(refs)s::text[] IS NULL OR ref = ANY (%(refs)s))

-- name: bury_sets
-- Delete the selected sources of sets that have no members any more.
UPDATE source SET state = 'gone', ref = NULL, access_set_id = NULL, title = '', priority = 0
WHERE access_set_id = ANY (%(emptied)s::bigint[])
  AND realm = %(realm)s
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(refs)s::text[] IS NULL OR ref = ANY (%(refs)s))

-- name: point_sets
-- Give the selected sources of sets that have no members any more another set.
UPDATE source SET access_set_id = %(access_set_id)s
WHERE access_set_id = ANY (%(emptied)s::bigint[])
  AND realm = %(realm)s
  AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(refs)s::text[] IS NULL OR ref = ANY (%(refs)s))

-- name: kept
-- Sources that were kept though all their readers were taken away, whether they have others by now or not.
SELECT ref FROM source JOIN access_member USING (access_set_id)
WHERE realm = %(realm)s AND state <> 'gone' AND principal_id = ANY (%(nobody)s::bigint[])

-- name: sweep_sources
-- Remove rows of deleted sources, and with them spool, chunks, words, vectors and what was answered from them.
WITH swept AS MATERIALIZED (
    SELECT id FROM source WHERE state = 'gone' ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), erased AS (
    DELETE FROM chat.messages WHERE sources && (SELECT array_agg(id) FROM swept) RETURNING conversation_id
), summed_up_anew AS (
    UPDATE chat.conversations SET summary = '', summary_until = 0, summary_sources = '{}'
    WHERE id IN (SELECT conversation_id FROM erased)
)
DELETE FROM source WHERE id IN (SELECT id FROM swept)

-- name: sweep_sets
-- Remove sets that no source points to.
DELETE FROM access_set WHERE NOT EXISTS (SELECT FROM source WHERE access_set_id = access_set.id)

-- name: sweep_principals
-- Remove names that are in no set.
DELETE FROM principal WHERE NOT EXISTS (SELECT FROM access_member WHERE principal_id = principal.id)

-- name: remember_sources
-- Keep an action for those of its sources that are not known (yet), and for those delivered as they were composed.
INSERT INTO action_log (realm, kind, ref, readers, known)
SELECT %(realm)s, %(kind)s, wanted.ref, %(readers)s::text[], source.id IS NOT NULL
FROM unnest(%(refs)s::text[]) AS wanted (ref)
LEFT JOIN source ON source.realm = %(realm)s AND source.ref = wanted.ref
WHERE source.id IS NULL OR wanted.ref = ANY (%(composed)s::text[])

-- name: remember_provider
-- Keep an action on a provider for sources that arrive later.
INSERT INTO action_log (realm, kind, provider, readers)
VALUES (%(realm)s, %(kind)s, %(provider)s, %(readers)s::text[])

-- name: remember_user
-- Keep the deletion of a user for sources that arrive later.
INSERT INTO action_log (realm, kind, readers) VALUES (%(realm)s, 'deny', %(readers)s::text[])

-- name: remembered
-- The actions that concern a source which is being admitted, oldest first.
SELECT kind, readers FROM action_log
WHERE realm = %(realm)s
  AND (ref = %(ref)s OR (ref IS NULL AND (provider IS NULL OR provider = %(provider)s)))
  AND at > coalesce(%(readers_since)s::timestamptz, now() - interval '48 hours')
  AND (NOT known OR %(readers_since)s::timestamptz IS NOT NULL)
  AND (kind <> 'delete' OR at > coalesce(%(readers_since)s::timestamptz, %(received_at)s::timestamptz, now()))
ORDER BY id

-- name: forget_remembered
-- Actions on one source are applied once.
DELETE FROM action_log WHERE realm = %(realm)s AND ref = %(ref)s AND NOT known

-- name: forget_actions
-- Deliveries that were under way when an action came have arrived by now (ruling 5), and so have actions whose lease was
-- lost.
WITH remembered AS (DELETE FROM action_log WHERE at <= now() - interval '48 hours'),
    listed AS (DELETE FROM listed_after WHERE at <= now() - interval '3 days' AND target <> '')
DELETE FROM applied_action WHERE at <= now() - interval '3 days'
