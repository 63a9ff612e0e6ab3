-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: forget
-- Conversations nobody has continued for so long, whoever's they are.
DELETE FROM chat.conversations
WHERE id IN (SELECT id FROM chat.conversations WHERE updated_at < now() - %(age)s ORDER BY updated_at LIMIT %(limit)s)
