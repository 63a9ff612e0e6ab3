-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: find
-- A source that is being delivered again; nobody else changes it until this transaction ends.
SELECT id, state::text, modified_at, title, access_set_id, outdated, size, admitted_at FROM source
WHERE realm = %(realm)s AND ref = %(ref)s FOR UPDATE

-- name: insert
-- A source that is delivered for the first time.
INSERT INTO source (realm, ref, provider, title, media_type, size, modified_at, access_set_id, precedence, remote,
    file_row)
VALUES (%(realm)s, %(ref)s, %(provider)s, %(title)s, %(media_type)s, %(size)s, %(modified_at)s, %(access_set_id)s,
    %(precedence)s, %(remote)s, %(file_row)s)
ON CONFLICT (realm, ref) DO NOTHING
RETURNING id

-- name: unheard_of
-- Which of these are neither known nor the subject of an action that came before them: nothing is to be compared.
SELECT ref FROM unnest(%(refs)s::text[], %(providers)s::text[]) AS delivered (ref, provider)
WHERE NOT EXISTS (SELECT FROM source WHERE source.realm = %(realm)s AND source.ref = delivered.ref)
  AND NOT EXISTS (
      SELECT FROM action_log
      WHERE action_log.realm = %(realm)s
        AND (action_log.ref = delivered.ref
             OR (action_log.ref IS NULL
                 AND (action_log.provider IS NULL OR action_log.provider = delivered.provider))))

-- name: insert_spooled
-- Sources that are delivered for the first time, with their bytes, in one order for all.
WITH delivered AS MATERIALIZED (
    SELECT * FROM unnest(%(refs)s::text[], %(providers)s::text[], %(titles)s::text[], %(media_types)s::text[],
        %(sizes)s::bigint[], %(modified_ats)s::timestamptz[], %(access_set_ids)s::bigint[],
        %(precedences)s::double precision[], %(bodies)s::bytea[])
        AS delivered (ref, provider, title, media_type, size, modified_at, access_set_id, precedence, body)
), entered AS (
    INSERT INTO source (realm, ref, provider, title, media_type, size, modified_at, access_set_id, precedence)
    SELECT %(realm)s, ref, provider, title, media_type, size, modified_at, access_set_id, precedence
    FROM delivered ORDER BY ref
    ON CONFLICT (realm, ref) DO NOTHING
    RETURNING id, version, ref
), spooled AS (
    INSERT INTO spool (source_id, version, piece, bytes)
    SELECT id, version, 0, body FROM entered JOIN delivered USING (ref)
)
SELECT ref FROM entered

-- name: renew
-- A newer version: it waits, the indexed one goes on answering.
UPDATE source SET media_type = %(media_type)s, size = %(size)s, modified_at = %(modified_at)s, remote = %(remote)s,
    file_row = %(file_row)s,
    state = 'waiting', reason = NULL, version = version + 1, attempts = 0, next_attempt_at = now(),
    leased_until = NULL, admitted_at = now(), settled_at = NULL, precedence = %(precedence)s, outdated = false
WHERE id = %(id)s
RETURNING version

-- name: refresh
-- Readers and title of the latest delivery.
UPDATE source SET access_set_id = %(access_set_id)s, title = %(title)s WHERE id = %(id)s

-- name: members
-- The readers a set has.
SELECT principal_id FROM access_member WHERE access_set_id = %(access_set_id)s

-- name: spool
-- One piece of a pushed body.
INSERT INTO spool (source_id, version, piece, bytes)
VALUES (%(source_id)s, %(version)s, %(piece)s, %(bytes)b)

-- name: empty_spools
-- Bodies that were indexed.
DELETE FROM spool WHERE source_id = ANY (%(ids)s)

-- name: empty_spool
-- Bodies of versions nobody will index.
DELETE FROM spool WHERE source_id = %(id)s

-- name: read_piece
-- One piece of a body that is being indexed.
SELECT bytes FROM spool WHERE source_id = %(id)s AND version = %(version)s AND piece = %(piece)s

-- name: claim
-- Lease what is due; with the lease it becomes due again. First what somebody waits for. Then each access set in turn,
-- beginning behind `after`, so that nobody's million files keep others waiting; of each set the newest and smallest.
-- The bytes of small ones come along. Only the first attempt is counted here, the others when they begin: whoever dies
-- with many sources in hand may die of each that was begun, not of those that waited. Nothing waits for more than five
-- minutes, or for longer than a lease: a time that is further away was written by a clock that has been set back since.
-- What nobody has tried yet waits for no time at all.
WITH RECURSIVE urgent AS (
    SELECT id FROM source
    WHERE state = 'waiting' AND priority > 0
      AND (next_attempt_at <= now() OR next_attempt_at > now() + interval '6 minutes'
           OR leased_until > now() + 2 * %(lease)s OR (leased_until IS NULL AND reason IS NULL))
      AND NOT EXISTS (SELECT FROM acknowledgement WHERE queue = 'files' AND row_id = file_row)
    ORDER BY next_attempt_at LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), turns AS (
    (SELECT access_set_id, 1 AS turn FROM source
     WHERE state = 'waiting' AND access_set_id > %(after)s ORDER BY access_set_id LIMIT 1)
    UNION ALL
    SELECT (SELECT access_set_id FROM source
            WHERE state = 'waiting' AND access_set_id > turns.access_set_id ORDER BY access_set_id LIMIT 1), turn + 1
    FROM turns WHERE access_set_id IS NOT NULL AND turn < %(limit)s
), in_turn AS (
    SELECT next.id, row_number() OVER (PARTITION BY turns.access_set_id ORDER BY precedence DESC, next.id) AS place
    FROM turns CROSS JOIN LATERAL (
        SELECT id, precedence FROM source
        WHERE state = 'waiting' AND access_set_id = turns.access_set_id
          AND (next_attempt_at <= now() OR next_attempt_at > now() + interval '6 minutes'
               OR leased_until > now() + 2 * %(lease)s OR (leased_until IS NULL AND reason IS NULL))
          AND NOT EXISTS (SELECT FROM acknowledgement WHERE queue = 'files' AND row_id = file_row)
        ORDER BY precedence DESC, id
        LIMIT (SELECT 1 + %(limit)s / greatest(count(access_set_id), 1) FROM turns)
        FOR UPDATE SKIP LOCKED) AS next
), due AS (
    SELECT id, place
    FROM (SELECT id, 0 AS place FROM urgent
          UNION ALL SELECT id, place FROM in_turn WHERE id NOT IN (SELECT id FROM urgent)) AS chosen
    ORDER BY place LIMIT %(limit)s
)
UPDATE source SET attempts = greatest(attempts, 1), started_at = now(),
    leased_until = now() + %(lease)s, next_attempt_at = now() + %(lease)s
FROM due WHERE source.id = due.id
RETURNING source.id, realm, ref, version, title, media_type, modified_at,
    1 + (SELECT attempts FROM source AS before WHERE before.id = source.id), remote, size,
    CASE WHEN size <= %(small)s AND NOT remote
        THEN (SELECT bytes FROM spool WHERE source_id = source.id AND spool.version = source.version AND piece = 0)
    END,
    place, access_set_id

-- name: begin
-- An attempt that is not the first. It does not count where somebody was let in since it was claimed (access.sql,
-- seek_again).
UPDATE source SET attempts = %(attempts)s
WHERE id = %(id)s AND version = %(version)s AND state = 'waiting' AND attempts > 0

-- name: prolong
-- A worker that is alive keeps its leases.
UPDATE source SET leased_until = now() + %(lease)s, next_attempt_at = now() + %(lease)s
WHERE (id, version) IN (SELECT * FROM unnest(%(ids)s::bigint[], %(versions)s::integer[]))
  AND state = 'waiting' AND leased_until IS NOT NULL

-- name: give_back
-- A worker that stops has done nothing to these.
UPDATE source SET leased_until = NULL, next_attempt_at = now(), attempts = least(source.attempts, claimed.attempts - 1)
FROM unnest(%(ids)s::bigint[], %(versions)s::integer[], %(attempts)s::integer[]) AS claimed (id, version, attempts)
WHERE source.id = claimed.id AND source.version = claimed.version AND state = 'waiting' AND leased_until IS NOT NULL

-- name: settle
-- Which versions are still the ones that are wanted? Nobody changes these until this transaction ends.
SELECT id, title FROM source
WHERE (id, version) IN (SELECT * FROM unnest(%(ids)s::bigint[], %(versions)s::integer[])) AND state = 'waiting'
ORDER BY id FOR UPDATE

-- name: indexed
-- The versions answer from this commit on.
UPDATE source SET state = 'indexed', reason = NULL, priority = 0, leased_until = NULL, settled_at = now(),
    indexed_modified_at = modified_at, content_digest = made.content_digest, chunk_count = made.chunk_count,
    parser = made.parser, characters = made.characters, parse_ms = made.parse_ms, embed_ms = made.embed_ms
FROM unnest(%(ids)s::bigint[], %(content_digests)s::bytea[], %(chunk_counts)s::integer[], %(parsers)s::text[],
    %(characters)s::integer[], %(parse_ms)s::integer[], %(embed_ms)s::integer[])
    AS made (id, content_digest, chunk_count, parser, characters, parse_ms, embed_ms)
WHERE source.id = made.id

-- name: reject
-- Final for this version. Where somebody was let in since the attempt began, its lease ends and another one begins.
UPDATE source SET state = 'rejected', reason = %(reason)s, priority = 0, leased_until = NULL, settled_at = now(),
    indexed_modified_at = NULL, content_digest = NULL, chunk_count = 0
WHERE id = %(id)s AND version = %(version)s AND state = 'waiting'
  AND (attempts > 0 OR leased_until IS NULL)

-- name: drop_rejected
-- What an older version leaves behind. The bytes are kept for a while, for another try (sql/overview.sql).
WITH rejected AS (SELECT id FROM source WHERE id = %(id)s AND state = 'rejected')
DELETE FROM chunk USING rejected WHERE source_id = rejected.id

-- name: retry_later
-- Not now.
UPDATE source SET reason = %(reason)s, leased_until = NULL, next_attempt_at = now() + %(delay)s
WHERE id = %(id)s AND version = %(version)s AND state = 'waiting'

-- name: postpone
-- Not now, and not for a fault of its own: the attempt does not count.
UPDATE source SET reason = %(reason)s, leased_until = NULL, next_attempt_at = now() + %(delay)s,
    attempts = greatest(attempts - 1, 0)
WHERE id = %(id)s AND version = %(version)s AND state = 'waiting'

-- name: readers
-- Who may read a source, for the download in their names: a page of them, in an order that each attempt has its own of.
SELECT name, place, id
FROM (SELECT principal.name, hashint8extended(principal.id, %(attempt)s) AS place, principal.id
      FROM source JOIN access_member USING (access_set_id)
      JOIN principal ON principal.id = access_member.principal_id AND principal.realm = source.realm
      WHERE source.id = %(id)s) AS reader
WHERE %(place)s::bigint IS NULL OR (place, id) > (%(place)s, %(after)s)
ORDER BY place, id LIMIT %(limit)s

-- name: has_other_readers
-- Whether somebody may read a source beside these.
SELECT EXISTS (
    SELECT FROM source JOIN access_member USING (access_set_id)
    JOIN principal ON principal.id = access_member.principal_id AND principal.realm = source.realm
    WHERE source.id = %(id)s AND name <> ALL (%(names)s::text[]))

-- name: waiting
-- How full the waiting list is; files that are fetched later take no room yet.
SELECT count(*), coalesce(sum(size) FILTER (WHERE NOT remote), 0)::bigint FROM source WHERE state = 'waiting'

-- name: prefer
-- Somebody asks about these: they are next.
UPDATE source SET priority = 1
WHERE realm = %(realm)s AND ref = ANY (%(refs)s) AND state = 'waiting'

-- name: count_indexed
-- Indexed sources by provider.
SELECT provider, count(*) FROM source
WHERE realm = %(realm)s AND indexed_modified_at IS NOT NULL AND state <> 'gone'
GROUP BY provider

-- name: count_states
-- All sources by state.
SELECT state::text, count(*) FROM source WHERE state <> 'gone' GROUP BY state

-- name: rejected
-- What was rejected last, for the administrator.
SELECT ref, title, state::text, reason, settled_at FROM source WHERE state IN ('rejected', 'quarantined')
ORDER BY settled_at DESC LIMIT %(limit)s
