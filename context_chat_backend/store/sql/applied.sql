-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: newer
-- What was done to these targets after an action.
SELECT action_id, kind, target, readers FROM applied_action
WHERE target = ANY (%(targets)s::text[]) AND action_id > %(than)s ORDER BY action_id

-- name: listed
-- Up to which action the readers of these are known to be right.
SELECT target, action_id FROM listed_after WHERE target = ANY (%(targets)s::text[])

-- name: note_listed
-- The readers that were listed are newer than all that was applied.
INSERT INTO listed_after (target, action_id)
SELECT ref, action_id FROM unnest(%(refs)s::text[]) AS ref, listed_after WHERE target = ''
ON CONFLICT (target) DO UPDATE SET action_id = greatest(listed_after.action_id, excluded.action_id), at = now()

-- name: sources
-- All of a provider.
SELECT ref FROM source WHERE realm = %(realm)s AND provider = %(provider)s AND state <> 'gone'

-- name: note_applied
-- What was done.
INSERT INTO applied_action (target, action_id, kind, readers)
SELECT target, action_id, kind, ARRAY(SELECT jsonb_array_elements_text(readers::jsonb))
FROM unnest(%(targets)s::text[], %(ids)s::bigint[], %(kinds)s::text[], %(readers)s::text[])
    AS action (target, action_id, kind, readers)
ON CONFLICT DO NOTHING

-- name: note_highest
-- The highest id of all.
INSERT INTO listed_after (target, action_id) VALUES ('', %(id)s)
ON CONFLICT (target) DO UPDATE SET action_id = greatest(listed_after.action_id, excluded.action_id), at = now()
