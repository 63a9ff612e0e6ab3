-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: add
-- A new key, by its digest.
INSERT INTO access.api_keys
    (digest, display, client_name, notes, user_name, collections, scopes, models, expires_at, rate_limit_per_minute,
    daily_limit, daily_token_limit)
VALUES (%(digest)s, %(display)s, %(client)s, %(notes)s, %(user)s, %(collections)s::text[], %(scopes)s::text[],
    %(models)s::text[], %(expires_at)s, %(requests_per_minute)s, %(requests_per_day)s, %(tokens_per_day)s)
RETURNING id::text, display, client_name, user_name, collections, scopes, created_at, active, last_used_at, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit, notes, models

-- name: use
-- The key of this digest that holds now, counted, and how often it was used in this minute. What a crash forgets of the
-- count does not matter, so that nobody waits for the disk.
UPDATE access.api_keys
SET last_used_at = now(), minute = date_trunc('minute', now()),
    used = CASE WHEN minute = date_trunc('minute', now()) THEN used + 1 ELSE 1 END,
    day = (now() AT TIME ZONE 'UTC')::date,
    used_today = CASE WHEN day = (now() AT TIME ZONE 'UTC')::date THEN used_today + 1 ELSE 1 END,
    tokens_today = CASE WHEN day = (now() AT TIME ZONE 'UTC')::date THEN tokens_today ELSE 0 END
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
WHERE digest = %(digest)s AND active AND (expires_at IS NULL OR expires_at > now())
RETURNING id::text, display, client_name, user_name, collections, scopes, created_at, active, last_used_at, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit, notes, models, used, 60 - extract(second FROM now())::float8,
    used_today, tokens_today, extract(epoch FROM date_trunc('day', now(), 'UTC') + interval '1 day' - now())::float8

-- name: all
-- Keys, the newest first, and how many there are on all pages.
SELECT id::text, display, client_name, user_name, collections, scopes, created_at, active, last_used_at, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit, notes, models, count(*) OVER ()
FROM access.api_keys
WHERE (NOT %(active_only)s OR active) AND (%(collection)s::text IS NULL OR %(collection)s = ANY (collections))
ORDER BY created_at DESC, id LIMIT %(limit)s OFFSET %(offset)s

-- name: one
-- A key, by itself or by its id.
SELECT id::text, display, client_name, user_name, collections, scopes, created_at, active, last_used_at, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit, notes, models
FROM access.api_keys WHERE id::text = %(named)s OR digest = %(digest)s

-- name: revoke
-- Let the key be used no more.
UPDATE access.api_keys SET active = false WHERE active AND (id::text = %(named)s OR digest = %(digest)s)

-- name: holds
-- Whether the key of this id may be used now; one row where it may.
SELECT 1 FROM access.api_keys
WHERE id::text = %(id)s AND active AND (expires_at IS NULL OR expires_at > now())

-- name: rotate
-- A key like another one that is active, in its place; the other one ends after a while.
WITH old AS (
    UPDATE access.api_keys
    SET active = %(grace_seconds)s > 0,
        expires_at = least(expires_at, now() + make_interval(secs => %(grace_seconds)s))
    WHERE id::text = %(id)s AND active
    RETURNING id
)
INSERT INTO access.api_keys
    (digest, display, client_name, notes, user_name, collections, scopes, models, expires_at, rate_limit_per_minute,
    daily_limit, daily_token_limit)
SELECT %(digest)s, %(display)s, client_name, notes, user_name, collections, scopes, models, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit
FROM access.api_keys JOIN old USING (id)
RETURNING id::text, display, client_name, user_name, collections, scopes, created_at, active, last_used_at, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit, notes, models

-- name: delete
-- Forget a key, and what was thought of answers to it.
WITH thought AS (DELETE FROM chat.feedback WHERE key_id::text = %(id)s)
DELETE FROM access.api_keys WHERE id::text = %(id)s
