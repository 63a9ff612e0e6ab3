-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: add
-- A new key, by its digest.
INSERT INTO access.api_keys
    (digest, display, client_name, user_name, collections, scopes, expires_at, rate_limit_per_minute, daily_limit,
    daily_token_limit)
VALUES (%(digest)s, %(display)s, %(client)s, %(user)s, %(collections)s::text[], %(scopes)s::text[], %(expires_at)s,
    %(requests_per_minute)s, %(requests_per_day)s, %(tokens_per_day)s)
RETURNING id::text, display, client_name, user_name, collections, scopes, created_at, active, last_used_at, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit

-- name: use
-- The key of this digest that holds now, counted, and how often it was used in this minute.
UPDATE access.api_keys
SET last_used_at = now(), minute = date_trunc('minute', now()),
    used = CASE WHEN minute = date_trunc('minute', now()) THEN used + 1 ELSE 1 END,
    day = (now() AT TIME ZONE 'UTC')::date,
    used_today = CASE WHEN day = (now() AT TIME ZONE 'UTC')::date THEN used_today + 1 ELSE 1 END,
    tokens_today = CASE WHEN day = (now() AT TIME ZONE 'UTC')::date THEN tokens_today ELSE 0 END
WHERE digest = %(digest)s AND active AND (expires_at IS NULL OR expires_at > now())
RETURNING id::text, display, client_name, user_name, collections, scopes, created_at, active, last_used_at, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit, used, 60 - extract(second FROM now())::float8,
    used_today, tokens_today, extract(epoch FROM date_trunc('day', now(), 'UTC') + interval '1 day' - now())::float8

-- name: all
-- Every key, the newest first.
SELECT id::text, display, client_name, user_name, collections, scopes, created_at, active, last_used_at, expires_at,
    rate_limit_per_minute, daily_limit, daily_token_limit
FROM access.api_keys ORDER BY created_at DESC, id

-- name: revoke
-- Let the key be used no more.
UPDATE access.api_keys SET active = false WHERE active AND (id::text = %(named)s OR digest = %(digest)s)

-- name: holds
-- Whether the key of this id may be used now; one row where it may.
SELECT 1 FROM access.api_keys
WHERE id::text = %(id)s AND active AND (expires_at IS NULL OR expires_at > now())
