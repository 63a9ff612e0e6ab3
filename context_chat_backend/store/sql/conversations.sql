-- SPDX-License-Identifier: AGPL-3.0-or-later
-- The owner stands in every statement: realm, name and key; a key that is NULL means any, and conversations about plans
-- too (sql/planning.sql). Rights are those of now: a message is given while its owner may read each of its sources.

-- name: begin
-- A new conversation.
INSERT INTO chat.conversations (realm, name, key_id, title)
VALUES (%(realm)s, %(name)s, %(key)s, %(title)s)
RETURNING id, title, message_count, created_at, updated_at

-- name: ensure
-- A conversation of this id, made of what nobody else can have.
INSERT INTO chat.conversations (id, realm, name, key_id)
VALUES (%(id)s, %(realm)s, %(name)s, %(key)s)
ON CONFLICT DO NOTHING
RETURNING id

-- name: all
-- The conversations of an owner, the latest first, from the one after `after` on.
SELECT id, title, message_count, created_at, updated_at FROM chat.conversations
WHERE realm = %(realm)s AND name = %(name)s AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))
  AND (%(after)s::uuid IS NULL OR (updated_at, id) < (
      SELECT updated_at, id FROM chat.conversations
      WHERE id = %(after)s AND realm = %(realm)s AND name = %(name)s
        AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))))
ORDER BY updated_at DESC, id DESC LIMIT %(limit)s

-- name: one
-- One conversation.
SELECT id, title, message_count, created_at, updated_at FROM chat.conversations
WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s
  AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))

-- name: messages
-- Its messages; the text of those that are hidden stays here.
SELECT role, CASE WHEN is_readable THEN content END, messages.created_at
FROM chat.conversations
JOIN chat.messages ON conversation_id = conversations.id
CROSS JOIN LATERAL reads_all(realm, name, sources) AS is_readable
WHERE conversations.id = %(id)s AND realm = %(realm)s AND name = %(name)s
  AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))
ORDER BY seq

-- name: summary
-- What its first messages were about, where its owner may still read all that stands in it.
SELECT summary, summary_until, summary_sources FROM chat.conversations
WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s
  AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))
  AND reads_all(realm, name, summary_sources)

-- name: recent
-- The latest messages that may be read, the last one first.
SELECT seq, role, content, sources
FROM chat.conversations JOIN chat.messages ON conversation_id = conversations.id
WHERE conversations.id = %(id)s AND realm = %(realm)s AND name = %(name)s
  AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))
  AND reads_all(realm, name, sources)
ORDER BY seq DESC LIMIT %(limit)s

-- name: add
-- A question and its answer. A source that is gone meanwhile counts as one that nobody may read.
WITH continued AS (
    UPDATE chat.conversations
    SET message_count = message_count + 2, updated_at = now(),
        title = CASE WHEN title = '' THEN %(title)s ELSE title END
    WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s
      AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))
    RETURNING id, message_count
), used AS (
    SELECT coalesce(array_agg(DISTINCT used_id), '{}') AS sources
    FROM (SELECT coalesce(source.id, 0)
          FROM unnest(%(refs)s::text[]) AS wanted (ref)
          LEFT JOIN source ON source.realm = %(sources_realm)s AND source.ref = wanted.ref
          UNION SELECT unnest(%(inherited)s::bigint[])) AS all_used (used_id)
)
INSERT INTO chat.messages (conversation_id, seq, role, content, sources)
SELECT id, message_count - 1, 'user', %(question)s, sources FROM continued, used
UNION ALL
SELECT id, message_count, 'assistant', %(answer)s, sources FROM continued, used
RETURNING conversation_id

-- name: sum_up
-- What its messages up to one were about.
UPDATE chat.conversations
SET summary = %(summary)s, summary_until = %(until)s, summary_sources = %(sources)s::bigint[]
WHERE id = %(id)s AND realm = %(realm)s AND name = %(name)s
  AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))
  AND %(until)s <= message_count
RETURNING id

-- name: delete
-- One conversation, or all.
DELETE FROM chat.conversations
WHERE realm = %(realm)s AND name = %(name)s AND (%(key)s::text IS NULL OR (surface = 'chat' AND key_id = %(key)s))
  AND (%(id)s::uuid IS NULL OR id = %(id)s)
RETURNING id
