-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: counts
-- Sources by provider and state; those that wait after a failed attempt by its reason, too.
SELECT provider, state::text, reason, count(*) FROM source WHERE state <> 'gone'
GROUP BY provider, state, reason ORDER BY provider, state, reason

-- name: pace
-- How many sources were indexed in the last minutes, and over how many seconds that was.
SELECT count(*), coalesce(extract(epoch FROM now() - min(settled_at)), 0)::float8
FROM source WHERE state = 'indexed' AND settled_at > now() - %(window)s

-- name: slowest
-- What took longest lately.
SELECT ref, title, parse_ms, embed_ms FROM source
WHERE settled_at > now() - %(window)s AND parse_ms IS NOT NULL AND ref IS NOT NULL
ORDER BY coalesce(parse_ms, 0) + coalesce(embed_ms, 0) DESC LIMIT %(limit)s

-- name: there
-- Which of these sources there are.
SELECT ref FROM source WHERE realm = %(realm)s AND ref = ANY (%(refs)s::text[]) AND state <> 'gone'

-- name: find
-- Sources by id or title.
SELECT source.id, source.realm, ref, provider, title, media_type, size, modified_at, state::text, reason, attempts,
    admitted_at, started_at, settled_at, next_attempt_at, leased_until, parser, characters, chunk_count,
    parse_ms, embed_ms, indexed_modified_at,
    (SELECT count(*) FROM access_member WHERE access_member.access_set_id = source.access_set_id),
    EXISTS (SELECT FROM spool WHERE spool.source_id = source.id AND spool.version = source.version)
FROM source
WHERE state <> 'gone' AND (ref = %(wanted)s OR title = %(wanted)s OR (
    NOT EXISTS (SELECT FROM source AS named WHERE named.ref = %(wanted)s OR named.title = %(wanted)s)
    AND strpos(lower(title), lower(%(wanted)s)) > 0))
ORDER BY admitted_at DESC LIMIT %(limit)s

-- name: let_out
-- Quarantined sources are tried again when they, or the reason, are named; from here on they are as all rejected ones.
UPDATE source SET state = 'rejected'
WHERE state = 'quarantined' AND (%(ref)s::text IS NOT NULL OR %(reason)s::text IS NOT NULL)
  AND (%(ref)s::text IS NULL OR ref = %(ref)s) AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)

-- name: retry
-- Rejected sources whose bytes were kept or can be fetched, and those that wait after a failed attempt, are due now.
UPDATE source SET state = 'waiting', reason = NULL, attempts = 0, next_attempt_at = now(), leased_until = NULL,
    settled_at = NULL
WHERE (state = 'rejected' AND (remote OR EXISTS (
        SELECT FROM spool WHERE spool.source_id = source.id AND spool.version = source.version))
    OR state = 'waiting' AND reason IS NOT NULL)
  AND (%(ref)s::text IS NULL OR ref = %(ref)s) AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)

-- name: out_of_reach
-- Rejected sources whose bytes are gone: they are tried when they are delivered again.
SELECT count(*) FROM source
WHERE state = 'rejected' AND NOT remote AND NOT EXISTS (
        SELECT FROM spool WHERE spool.source_id = source.id AND spool.version = source.version)
  AND (%(ref)s::text IS NULL OR ref = %(ref)s) AND (%(provider)s::text IS NULL OR provider = %(provider)s)
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)

-- name: reindex
-- Indexed anew: now where the bytes can be fetched, else at the next delivery, whatever its time says. Until then the
-- indexed version answers.
UPDATE source SET outdated = NOT remote, attempts = 0, next_attempt_at = now(),
    state = CASE WHEN remote THEN 'waiting' ELSE state END
WHERE state = 'indexed'
  AND (%(ref)s::text IS NULL OR ref = %(ref)s) AND (%(provider)s::text IS NULL OR provider = %(provider)s)

-- name: drop_kept
-- Bytes of rejected sources, kept for another try: not for ever, and not more than so many.
WITH kept AS (
    SELECT id, settled_at, sum(size) OVER (ORDER BY settled_at DESC, id) AS so_far
    FROM source WHERE state IN ('rejected', 'quarantined')
        AND EXISTS (SELECT FROM spool WHERE spool.source_id = source.id)
)
DELETE FROM spool USING kept
WHERE source_id = kept.id AND (kept.so_far > %(bytes)s OR kept.settled_at < now() - %(time)s)
