-- SPDX-License-Identifier: AGPL-3.0-or-later
-- The tables of the reference, which are read and never changed but by `drop`; and what was made of them.

-- name: columns
-- Which of the columns that are read are there.
SELECT relname || '.' || attname
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE attrelid IN (to_regclass('docs'), to_regclass('access_list'), to_regclass('langchain_pg_embedding'))
  AND attnum > 0 AND NOT attisdropped

-- name: counts
-- What there is: sources, rows of readers, chunks; and a digest of the sources and the ids of their chunks.
SELECT (SELECT count(*) FROM docs), (SELECT count(*) FROM access_list), (SELECT count(*) FROM langchain_pg_embedding),
    (SELECT md5(count(*) || ' ' || coalesce(sum(hashtextextended(concat_ws(' ', source_id, chunks::text), 0)), 0))
     FROM docs)

-- name: databases
-- Where a server may hold such tables.
SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname

-- name: samples
-- Some texts with their vectors; ids are random, so that the first ones are a sample.
SELECT document, embedding FROM langchain_pg_embedding
WHERE embedding IS NOT NULL AND length(document) > 0 ORDER BY id LIMIT %(count)s

-- name: sources
-- All sources with their readers and the ids of their chunks, in one pass, for access_list has no index by source.
SELECT docs.source_id, docs.provider, CASE WHEN isfinite(docs.modified) THEN docs.modified END, coalesce(readers.names, '{}'),
    coalesce(docs.chunks::text[], '{}')
FROM docs
LEFT JOIN (SELECT source_id, array_agg(DISTINCT uid::text) AS names FROM access_list GROUP BY source_id) AS readers
    USING (source_id)
ORDER BY docs.source_id COLLATE "C"

-- name: chunks
-- Chunks by their ids, as far as they are there. `vector` is of length 1, or NULL.
SELECT wanted.number, stored.document, stored.cmetadata ->> 'title', stored.cmetadata ->> 'type', {vector}
FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS wanted (id, number)
JOIN langchain_pg_embedding AS stored ON stored.id = wanted.id
ORDER BY wanted.number

-- name: chunk_counts
-- How many of the chunks that are named are there.
SELECT wanted.owner, count(*)
FROM unnest(%(owners)s::integer[], %(ids)s::text[]) AS wanted (owner, id)
JOIN langchain_pg_embedding AS stored ON stored.id = wanted.id
GROUP BY wanted.owner

-- name: drop
-- When all was taken over. What other programs keep in this database stays.
DROP TABLE access_list, docs, langchain_pg_embedding;
DROP TABLE IF EXISTS langchain_pg_collection

-- name: enter
-- Sources that are taken over. Their size is not known; the version that was indexed is the one that was delivered last.
INSERT INTO source (realm, ref, provider, title, media_type, size, modified_at, access_set_id)
SELECT %(realm)s, ref, provider, title, media_type, 0, modified_at, access_set_id
FROM unnest(%(refs)s::text[], %(providers)s::text[], %(titles)s::text[], %(media_types)s::text[],
    %(modified_ats)s::timestamptz[], %(access_set_ids)s::bigint[])
    AS old (ref, provider, title, media_type, modified_at, access_set_id)
ORDER BY ref
ON CONFLICT (realm, ref) DO NOTHING
RETURNING ref, id

-- name: note_batch
-- These were taken over, whatever becomes of them afterwards.
INSERT INTO reference_batch (digest, first, last) VALUES (%(digest)s, %(first)s, %(last)s)

-- name: batches
-- What of this index was taken over by now.
SELECT first, last FROM reference_batch WHERE digest = %(digest)s ORDER BY first COLLATE "C"

-- name: forget_batches
-- All of it was taken over.
DELETE FROM reference_batch WHERE digest = %(digest)s

-- name: known
-- Which of these sources are here, which of them were taken over, and with how many chunks.
SELECT ref, parser IS NOT DISTINCT FROM %(parser)s AND state = 'indexed',
    (SELECT count(*) FROM chunk WHERE source_id = source.id)
FROM source WHERE realm = %(realm)s AND ref = ANY (%(refs)s)

-- name: same_texts
-- How many of these texts are the text of the chunk of that place.
SELECT count(*) FROM unnest(%(refs)s::text[], %(ordinals)s::integer[], %(texts)s::text[]) AS old (ref, ordinal, text)
JOIN source ON realm = %(realm)s AND source.ref = old.ref
JOIN chunk ON chunk.source_id = source.id AND chunk.ordinal = old.ordinal
JOIN chunk_text ON chunk_text.chunk_id = chunk.id AND chunk_text.text = old.text

-- name: readers
-- Who may read these sources here.
SELECT source.ref, array_agg(principal.name)
FROM source JOIN access_member USING (access_set_id) JOIN principal ON principal.id = principal_id
WHERE source.realm = %(realm)s AND source.ref = ANY (%(refs)s)
GROUP BY source.ref

-- name: count_chunks
-- How many chunks are here, about.
SELECT coalesce(sum(chunk_count), 0)::bigint FROM source WHERE access_set_id IS NOT NULL
