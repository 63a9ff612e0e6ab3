-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: heads
-- What stands before the pieces of each card: the first of its models, and what that is for.
CREATE TEMP TABLE head ON COMMIT DROP AS
SELECT DISTINCT ON (card_hash) card_hash, model_id, pipeline_tag
FROM hf.model_to_card JOIN hf.models USING (model_id) ORDER BY card_hash, model_id

-- name: incoming_cards
-- The texts of cards, and whose they are, on their way in.
CREATE TEMP TABLE incoming_card (model_id text, card_hash text, card text) ON COMMIT DROP

-- name: copy_cards
-- The rows.
COPY incoming_card (model_id, card_hash, card) FROM STDIN

-- name: add_cards
-- Texts that are new.
INSERT INTO hf.cards (card_hash, card) SELECT DISTINCT ON (card_hash) card_hash, card FROM incoming_card
ON CONFLICT (card_hash) DO NOTHING

-- name: unlink
-- Models and cards that do not belong together any more.
DELETE FROM hf.model_to_card AS old
WHERE NOT EXISTS (SELECT FROM incoming_card AS new
    WHERE new.model_id = old.model_id COLLATE "C" AND new.card_hash = old.card_hash COLLATE "C")

-- name: link
-- Those that do.
INSERT INTO hf.model_to_card (model_id, card_hash) SELECT model_id, card_hash FROM incoming_card
ON CONFLICT DO NOTHING

-- name: drop_cards
-- Texts that belong to no model, with their pieces.
DELETE FROM hf.cards WHERE NOT EXISTS (SELECT FROM hf.model_to_card WHERE model_to_card.card_hash = cards.card_hash)

-- name: drop_chunks
-- Pieces before which something else has to stand now.
DELETE FROM hf.card_chunks USING head
WHERE card_chunks.card_hash = head.card_hash AND NOT EXISTS (
    SELECT FROM (
        SELECT model_id, pipeline_tag FROM hf.model_to_card JOIN hf.models USING (model_id)
        WHERE model_to_card.card_hash = head.card_hash ORDER BY model_id LIMIT 1) AS now
    WHERE now.model_id = head.model_id AND now.pipeline_tag = head.pipeline_tag)

-- name: to_embed
-- Cards that have no pieces of this model and this way of cutting.
SELECT DISTINCT ON (card_hash) card_hash, model_id, pipeline_tag, card
FROM hf.cards JOIN hf.model_to_card USING (card_hash) JOIN hf.models USING (model_id)
WHERE card_hash > %(after)s AND NOT EXISTS (
    SELECT FROM hf.card_chunks
    WHERE card_chunks.card_hash = cards.card_hash
      AND embedding_model_name = %(model)s AND chunker_version = %(chunker)s)
ORDER BY card_hash, model_id LIMIT %(limit)s

-- name: incoming_chunks
-- Pieces of cards on their way in.
CREATE TEMP TABLE incoming_chunk (card_hash text COLLATE "C", chunk_index integer, content text, embedding vector)
ON COMMIT DROP

-- name: copy_chunks
-- The rows.
COPY incoming_chunk (card_hash, chunk_index, content, embedding) FROM STDIN

-- name: add_chunks
-- Pieces of cards that are still there.
INSERT INTO hf.card_chunks (card_hash, chunk_index, content, embedding, embedding_model_name, chunker_version)
SELECT card_hash, chunk_index, content, embedding, %(model)s, %(chunker)s
FROM incoming_chunk JOIN hf.cards USING (card_hash)
ON CONFLICT DO NOTHING

-- name: memory
-- An index of many vectors is built in memory, or takes much longer.
SELECT set_config('maintenance_work_mem', '512MB', true)

-- name: drop_others
-- Pieces made otherwise.
DELETE FROM hf.card_chunks WHERE (embedding_model_name, chunker_version) <> (%(model)s, %(chunker)s)

-- name: has_chunks
-- Whether there are any of this model and this way of cutting: the dimension of one.
SELECT vector_dims(embedding) FROM hf.card_chunks
WHERE embedding_model_name = %(model)s AND chunker_version = %(chunker)s LIMIT 1

-- name: names
-- Which models and ways of cutting there are.
SELECT DISTINCT embedding_model_name, chunker_version FROM hf.card_chunks ORDER BY 1, 2 LIMIT 10

-- name: many
-- Whether there are so many pieces that an index pays.
SELECT count(*) FROM (
    SELECT FROM hf.card_chunks WHERE embedding_model_name = %(model)s AND chunker_version = %(chunker)s
    LIMIT %(limit)s) AS counted

-- name: index
-- What finds the nearest of them.
CREATE INDEX IF NOT EXISTS {index} ON hf.card_chunks
USING hnsw ((embedding::halfvec({dimension})) halfvec_cosine_ops) WITH (m = 16, ef_construction = 64)
WHERE embedding_model_name = {model} AND chunker_version = {chunker}

-- name: indexed
-- Whether it is there.
SELECT EXISTS (SELECT FROM pg_indexes WHERE schemaname = 'hf' AND indexname = %(index)s)

-- name: analysed
-- So that searches are planned for what is there now.
ANALYZE hf.card_chunks

-- name: filtered
-- How many models are left by the filters, counted up to a limit.
SELECT count(*) FROM (
    SELECT FROM hf.models
    WHERE (%(tag)s::text IS NULL OR pipeline_tag = %(tag)s)
      AND (%(licences)s::text[] IS NULL OR lower(license) = ANY (%(licences)s))
    LIMIT %(limit)s) AS counted

-- name: deep
-- The index is read on until enough of what it finds passes the filters.
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '400', true)

-- name: nearest
-- The nearest cards of models that pass the filters, with these models; every card is looked at.
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT card_hash FROM hf.models JOIN hf.model_to_card USING (model_id)
    WHERE (%(tag)s::text IS NULL OR pipeline_tag = %(tag)s)
      AND (%(licences)s::text[] IS NULL OR lower(license) = ANY (%(licences)s))
), piece AS (
    SELECT id, card_hash, embedding <=> %(vector)s::vector AS distance
    FROM wanted JOIN hf.card_chunks USING (card_hash)
    WHERE embedding_model_name = %(model)s AND chunker_version = %(chunker)s
), nearest AS (
    SELECT DISTINCT ON (card_hash) id, card_hash, distance FROM piece ORDER BY card_hash, distance, id
), best AS (
    SELECT * FROM nearest ORDER BY distance, card_hash LIMIT %(cards)s
)
SELECT model_id, pipeline_tag, license, downloads, likes, parameters_b, 1 - distance, content
FROM best JOIN hf.card_chunks USING (id) JOIN hf.model_to_card ON model_to_card.card_hash = best.card_hash
JOIN hf.models USING (model_id)
WHERE (%(tag)s::text IS NULL OR pipeline_tag = %(tag)s)
  AND (%(licences)s::text[] IS NULL OR lower(license) = ANY (%(licences)s))

-- name: nearest_indexed
-- The same by the index. OFFSET 0 keeps the planner from joining all models first, for the few that are looked at.
WITH piece AS MATERIALIZED (
    SELECT id, card_hash, content, embedding <=> %(vector)s::vector AS distance FROM hf.card_chunks
    WHERE embedding_model_name = {model} AND chunker_version = {chunker}
      AND ((%(tag)s::text IS NULL AND %(licences)s::text[] IS NULL) OR EXISTS (
          SELECT FROM hf.model_to_card JOIN hf.models USING (model_id)
          WHERE model_to_card.card_hash = card_chunks.card_hash
            AND (%(tag)s::text IS NULL OR pipeline_tag = %(tag)s)
            AND (%(licences)s::text[] IS NULL OR lower(license) = ANY (%(licences)s))
          OFFSET 0))
    ORDER BY embedding::halfvec({dimension}) <=> %(vector)s::vector::halfvec({dimension})
    LIMIT 2 * %(cards)s
), nearest AS (
    SELECT DISTINCT ON (card_hash) id, card_hash, content, distance FROM piece ORDER BY card_hash, distance, id
), best AS (
    SELECT * FROM nearest ORDER BY distance, card_hash LIMIT %(cards)s
)
SELECT model_id, pipeline_tag, license, downloads, likes, parameters_b, 1 - distance, content
FROM best JOIN hf.model_to_card USING (card_hash) JOIN hf.models USING (model_id)
WHERE (%(tag)s::text IS NULL OR pipeline_tag = %(tag)s)
  AND (%(licences)s::text[] IS NULL OR lower(license) = ANY (%(licences)s))
