-- SPDX-License-Identifier: AGPL-3.0-or-later
-- Conversations about plans. The owner stands in every statement: realm, name and key.

-- name: begin
-- A new conversation.
INSERT INTO chat.conversations (realm, name, key_id, surface, title)
VALUES (%(realm)s, %(name)s, %(key)s, 'planner', %(title)s)
RETURNING id, title, message_count, created_at, updated_at

-- name: all
-- The conversations of an owner, the latest first, from the one after `before` on.
SELECT id, title, message_count, created_at, updated_at FROM chat.conversations
WHERE realm = %(realm)s AND name = %(name)s AND key_id = %(key)s AND surface = 'planner'
  AND (%(before)s::uuid IS NULL OR (updated_at, id) < (
      SELECT updated_at, id FROM chat.conversations
      WHERE id = %(before)s AND realm = %(realm)s AND name = %(name)s AND key_id = %(key)s AND surface = 'planner'))
ORDER BY updated_at DESC, id DESC LIMIT %(limit)s

-- name: one
-- One conversation.
SELECT id, title, message_count, created_at, updated_at FROM chat.conversations
WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s AND key_id = %(key)s AND surface = 'planner'

-- name: messages
-- Its messages; of those that are hidden, because a source may not be read now, text and plan stay here.
SELECT messages.id, role, CASE WHEN is_readable THEN content END, messages.created_at,
    CASE WHEN is_readable THEN metadata ELSE '{}' END
FROM chat.conversations
JOIN chat.messages ON conversation_id = conversations.id
CROSS JOIN LATERAL reads_all(realm, name, sources) AS is_readable
WHERE conversations.id = %(id)s AND realm = %(realm)s AND name = %(name)s AND key_id = %(key)s
  AND surface = 'planner'
ORDER BY seq

-- name: hold
-- Take the turn in a conversation, unless another message has it.
UPDATE chat.conversations SET holder = %(holder)s, held_until = now() + %(seconds)s * interval '1 second'
WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s AND key_id = %(key)s AND surface = 'planner'
  AND (holder IS NULL OR held_until < now())
RETURNING state

-- name: release
-- Give the turn back.
UPDATE chat.conversations SET holder = NULL, held_until = NULL
WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s AND key_id = %(key)s AND surface = 'planner'
  AND holder = %(holder)s

-- name: add
-- A message and its answer, by who has the turn, which ends with it. A source that is gone meanwhile counts as one that
-- nobody may read.
WITH continued AS (
    UPDATE chat.conversations
    SET message_count = message_count + 2, updated_at = clock_timestamp(), state = %(state)s,
        title = CASE WHEN title = '' THEN %(title)s ELSE title END, holder = NULL, held_until = NULL
    WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s AND key_id = %(key)s AND surface = 'planner'
      AND holder = %(holder)s
    RETURNING id, message_count
), used AS (
    SELECT coalesce(array_agg(DISTINCT coalesce(source.id, 0)), '{}') AS sources
    FROM unnest(%(refs)s::text[]) AS wanted (ref)
    LEFT JOIN source ON source.realm = %(sources_realm)s AND source.ref = wanted.ref
)
INSERT INTO chat.messages (conversation_id, seq, role, content, sources, id, metadata)
SELECT continued.id, message_count - 1, 'user', %(question)s, '{}', gen_random_uuid(), '{}' FROM continued
UNION ALL
SELECT continued.id, message_count, 'assistant', %(answer)s, sources, %(message_id)s, %(metadata)s::jsonb
FROM continued, used
RETURNING conversation_id

-- name: rename
-- Another title.
UPDATE chat.conversations SET title = %(title)s
WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s AND key_id = %(key)s AND surface = 'planner'
RETURNING id, title, message_count, created_at, updated_at

-- name: delete
-- Gone with its messages.
DELETE FROM chat.conversations
WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s AND key_id = %(key)s AND surface = 'planner'
RETURNING id
