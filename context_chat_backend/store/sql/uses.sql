-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: book
-- A use, and its tokens on the day's account of its key.
WITH booked AS (
    INSERT INTO access.usage
        (key_id, principal, surface, model, prompt_tokens, completion_tokens, first_byte_ms, total_ms, status, cancelled)
    VALUES (%(key_id)s::uuid, %(principal)s, %(surface)s, %(model)s, %(prompt_tokens)s, %(answer_tokens)s,
        %(first_byte_ms)s, %(total_ms)s, %(status)s, %(cancelled)s)
)
UPDATE access.api_keys
SET tokens_today = CASE WHEN day = (now() AT TIME ZONE 'UTC')::date THEN tokens_today ELSE 0 END + %(tokens)s,
    used_today = CASE WHEN day = (now() AT TIME ZONE 'UTC')::date THEN used_today ELSE 0 END,
    day = (now() AT TIME ZONE 'UTC')::date
WHERE id = %(key_id)s::uuid

-- name: asked
-- Somebody asks: how often in this minute, and how many seconds are left of it.
INSERT INTO access.askers (realm, name, minute, used) VALUES (%(realm)s, %(name)s, date_trunc('minute', now()), 1)
ON CONFLICT (realm, name) DO UPDATE
SET used = CASE WHEN askers.minute = excluded.minute THEN askers.used + 1 ELSE 1 END, minute = excluded.minute
RETURNING used, 60 - extract(second FROM now())::float8

-- name: sweep
-- Uses that nobody asks about any more.
DELETE FROM access.usage WHERE at < now() - interval '90 days'

-- name: sweep_feedback
-- What was thought of answers that old.
DELETE FROM chat.feedback WHERE at < now() - interval '90 days'

-- name: sweep_askers
-- Who has not asked for a while.
DELETE FROM access.askers WHERE minute < now() - interval '1 day'

-- name: stop
-- A key wants no more of an answer.
INSERT INTO access.stops (request_id, key_id) VALUES (%(request_id)s, %(key_id)s::uuid) ON CONFLICT DO NOTHING

-- name: stopped
-- One row where a key wants no more of an answer.
SELECT 1 FROM access.stops WHERE request_id = %(request_id)s AND key_id::text = %(key_id)s

-- name: sweep_stops
-- Answers do not take that long.
DELETE FROM access.stops WHERE at < now() - interval '2 hours'
