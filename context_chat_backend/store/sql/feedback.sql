-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: give
-- What a key thinks of an answer.
INSERT INTO chat.feedback (request_id, key_id, rating, comment)
VALUES (%(request_id)s, %(key_id)s::uuid, %(rating)s, %(comment)s)
ON CONFLICT (request_id, key_id) DO UPDATE
SET rating = excluded.rating, comment = excluded.comment, at = now()
