-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: scan_on
-- An index scan goes on until enough of what it finds is visible; without this a user of few sources finds nothing.
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true)

-- name: passages
-- The chunks that answer best among those the asker may read within the scope.
WITH visible AS MATERIALIZED (
    SELECT source.id, chunk_count, word_count
    FROM principal
    JOIN access_member ON access_member.principal_id = principal.id
    JOIN source ON source.access_set_id = access_member.access_set_id
    WHERE principal.realm = %(realm)s AND principal.name = %(name)s
      AND source.realm = %(realm)s AND source.chunk_count > 0
      AND (%(providers)s::text[] IS NULL OR source.provider = ANY (%(providers)s))
      AND (%(refs)s::text[] IS NULL OR source.ref = ANY (%(refs)s))
), extent AS (
    SELECT coalesce(sum(chunk_count), 0)::float8 AS chunks,
        greatest(coalesce(sum(word_count), 0) / nullif(sum(chunk_count), 0), 1)::float8 AS mean_length
    FROM visible
),
-- By meaning. Few visible chunks are scanned exactly, many through the index with iterative scans.
nearest AS (
    (SELECT chunk_id, embedding.v <#> %(vector)s::halfvec AS distance
     FROM visible JOIN {embedding} AS embedding ON embedding.source_id = visible.id
     WHERE (SELECT chunks FROM extent) <= 20000
     ORDER BY distance LIMIT %(candidates)s)
    UNION ALL
    (SELECT chunk_id, embedding.v <#> %(vector)s::halfvec AS distance
     FROM {embedding} AS embedding
     WHERE (SELECT chunks FROM extent) > 20000 AND embedding.source_id IN (SELECT id FROM visible)
     ORDER BY embedding.v <#> %(vector)s::halfvec LIMIT %(candidates)s)
),
-- By words: the question's stems in every language there is, each matched with chunks of its language.
term AS (
    SELECT language, stem.lexeme
    FROM word_language CROSS JOIN LATERAL unnest(to_tsvector(language, %(text)s)) AS stem
), wanted AS (
    SELECT language, string_agg(
            '''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' | ')::tsquery AS any_term
    FROM term GROUP BY language
), matched AS (
    SELECT words.chunk_id, words.language, words.length, words.tsv
    FROM wanted
    JOIN words ON words.language = wanted.language AND words.tsv @@ wanted.any_term
    JOIN visible ON visible.id = words.source_id
), hit AS (
    SELECT matched.chunk_id, term.language, term.lexeme, matched.length, cardinality(stem.positions) AS frequency
    FROM matched
    CROSS JOIN LATERAL unnest(matched.tsv) AS stem
    JOIN term ON term.language = matched.language AND term.lexeme = stem.lexeme
), rarity AS (
    SELECT language, lexeme, ln(1 + (extent.chunks - count(*) + 0.5) / (count(*) + 0.5)) AS idf
    FROM hit CROSS JOIN extent GROUP BY language, lexeme, extent.chunks
), best AS (
    SELECT chunk_id, sum(idf * frequency * 2.2
            / (frequency + 1.2 * (0.25 + 0.75 * length / extent.mean_length))) AS score
    FROM hit JOIN rarity USING (language, lexeme) CROSS JOIN extent
    GROUP BY chunk_id ORDER BY score DESC, chunk_id LIMIT %(candidates)s
),
fused AS (
    SELECT chunk_id, sum(part) AS score FROM (
        SELECT chunk_id, %(meaning)s::float8 / (%(k)s + row_number() OVER (ORDER BY distance, chunk_id)) AS part
        FROM nearest
        UNION ALL
        SELECT chunk_id, %(words)s::float8 / (%(k)s + row_number() OVER (ORDER BY score DESC, chunk_id)) FROM best
    ) AS ranked
    GROUP BY chunk_id ORDER BY score DESC, chunk_id LIMIT %(limit)s
)
-- Readable text, for the winners alone; row-level security looks once more.
SELECT chunk.id, source.ref, source.title, source.modified_at, chunk_text.text,
    chunk.page, chunk.sheet, chunk.slide, chunk.heading, words.language::text,
    coalesce(-(embedding.v <#> %(vector)s::halfvec), 0)::float8 AS similarity
FROM fused
JOIN chunk ON chunk.id = fused.chunk_id
JOIN chunk_text ON chunk_text.chunk_id = chunk.id
JOIN words ON words.chunk_id = chunk.id
JOIN source ON source.id = chunk.source_id AND source.ref IS NOT NULL
LEFT JOIN {embedding} AS embedding ON embedding.chunk_id = chunk.id
ORDER BY fused.score DESC, chunk.id
