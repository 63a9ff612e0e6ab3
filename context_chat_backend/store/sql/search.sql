-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: within_scope
-- What a question may be answered from, beside rights and names of sources.
(wanted_providers IS NULL OR provider = ANY (wanted_providers))
AND (wanted_types IS NULL OR media_type = ANY (wanted_types))
AND (wanted_path IS NULL OR starts_with(source.title, wanted_path))
AND (wanted_since IS NULL OR source.modified_at >= wanted_since)
AND (wanted_until IS NULL OR source.modified_at < wanted_until)

-- name: may_read
-- Whether the asker may read `candidate` within the scope, by what is at hand: his sources, his access sets, or a look.
CASE
    WHEN all_known THEN candidate.source_id IN (SELECT unnest(visible))
    WHEN sets_known THEN
        (SELECT access_set_id FROM source
         WHERE source.id = candidate.source_id AND realm = sources_realm AND {within_scope}) IN (SELECT unnest(sets))
    ELSE
        (SELECT true FROM source JOIN access_member USING (access_set_id)
         WHERE source.id = candidate.source_id AND principal_id = asker AND realm = sources_realm AND {within_scope})
END

-- name: passages
-- At most `wanted` passages the asker may read, best first.
SELECT * FROM {function}(
    %(asker_realm)s, %(name)s, %(realm)s, %(providers)s::text[], %(refs)s::text[], %(media_types)s::text[], %(path)s::text,
    %(since)s::timestamptz, %(until)s::timestamptz,
    %(vector)s::halfvec, %(written)s, %(names)s::text[], %(meaning)s, %(words)s, %(wanted)s)

-- name: load_vector
-- Only then are its settings known.
SELECT '[1]'::halfvec

-- name: still_readable
-- Which of these sources the asker may read now.
SELECT ref FROM source
WHERE realm = %(sources_realm)s AND ref = ANY (%(refs)s)
  AND EXISTS (SELECT FROM principal JOIN access_member ON principal_id = principal.id
              WHERE principal.realm = %(realm)s AND principal.name = %(name)s
                AND access_member.access_set_id = source.access_set_id)

-- name: drop_function
-- The search of an earlier version of the program.
DROP FUNCTION IF EXISTS {function}

-- name: create_function
-- The search of one embedding space, in one round trip; its plans are kept by each connection. A start of a program with
-- another text makes it anew, so it may change with the program. Names: `few` is where scanning all that is visible is
-- cheaper than the indexes; `may_read` below is written out each time, since a function in its place would cost
-- 20 microseconds a row.
CREATE FUNCTION {function}(
    asker_realm text, asker_name text, sources_realm text,
    wanted_providers text[], wanted_refs text[], wanted_types text[], wanted_path text,
    wanted_since timestamptz, wanted_until timestamptz,
    question halfvec, question_text text, question_names text[],
    meaning float8, by_words float8, wanted integer
) RETURNS TABLE (
    chunk_id bigint, ref text, title text, modified_at timestamptz, text text,
    page integer, sheet text, slide integer, heading text, language text, similarity float8,
    ordinal integer
) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET max_parallel_workers_per_gather = 0
SET work_mem = '32MB'
SET hnsw.iterative_scan = relaxed_order
SET hnsw.ef_search = 150
AS $function$
#variable_conflict use_column
DECLARE
    few_sources CONSTANT integer := 2000;
    few_chunks CONSTANT integer := 15000;
    scanned_chunks CONSTANT integer := 4000;
    most_terms CONSTANT integer := 64;
    candidates CONSTANT integer := greatest(40, wanted);
    enough_by_words CONSTANT integer := CASE WHEN meaning > 0 THEN candidates / 4 ELSE wanted END;
    sampled_sources CONSTANT integer := 300;
    sampled_chunks CONSTANT integer := 1000;
    few_sets CONSTANT integer := 1000;
    narrowed CONSTANT boolean := wanted_types IS NOT NULL OR wanted_path IS NOT NULL
        OR wanted_since IS NOT NULL OR wanted_until IS NOT NULL;
    vectors_indexed CONSTANT boolean := EXISTS (
        SELECT FROM pg_index WHERE indexrelid = to_regclass({index}) AND indisvalid);
    words_indexed CONSTANT boolean := EXISTS (
        SELECT FROM pg_index WHERE indexrelid = to_regclass('words_by_key') AND indisvalid);
    asker bigint := (SELECT id FROM principal WHERE realm = asker_realm AND name = asker_name);
    sets bigint[];
    sets_known boolean;
    visible bigint[];
    visible_chunks bigint;
    much boolean;
    few boolean;
    very_few boolean;
    all_known boolean;
    all_sources CONSTANT float8 := (
        SELECT greatest(reltuples, few_sources) FROM pg_class WHERE oid = 'source'::regclass);
    share_visible float8;
    nearest bigint[] := '{{}}';
    best bigint[] := '{{}}';
    winners bigint[];
    total float8;
    terms integer[];
    expected float8[];
    impacts_wanted sparsevec;
    budget integer;
    telling integer[];
    together integer[];
BEGIN
    IF asker IS NULL OR wanted <= 0 THEN
        RETURN;
    END IF;

    -- The asker's access sets, where they are not too many to be kept at hand.
    sets := ARRAY(SELECT access_set_id FROM access_member WHERE principal_id = asker LIMIT few_sets + 1);
    sets_known := cardinality(sets) <= few_sets;

    -- Which share of the sources is visible, by those that lie on a few pages.
    IF wanted_refs IS NULL AND all_sources > few_sources THEN
        share_visible := (
            SELECT count(*) FROM source TABLESAMPLE SYSTEM (least(100, 100 * sampled_sources / all_sources)) REPEATABLE (1)
            WHERE realm = sources_realm AND chunk_count > 0 AND {within_scope}
              AND EXISTS (SELECT FROM access_member
                          WHERE access_set_id = source.access_set_id AND principal_id = asker)
        ) / sampled_sources::float8;
    END IF;

    -- What is visible: all of it where that is little, else just that it is much.
    much := coalesce(share_visible * all_sources > 2 * few_sources, false);
    IF much THEN
        NULL;
    ELSIF wanted_refs IS NOT NULL THEN
        SELECT array_agg(id), sum(chunk_count) INTO visible, visible_chunks
        FROM source
        WHERE realm = sources_realm AND ref = ANY (wanted_refs) AND chunk_count > 0
          AND {within_scope}
          AND EXISTS (SELECT FROM access_member
                      WHERE access_set_id = source.access_set_id AND principal_id = asker);
    ELSIF narrowed THEN
        SELECT array_agg(id), sum(chunk_count) INTO visible, visible_chunks
        FROM (SELECT source.id, chunk_count
              FROM access_member JOIN source USING (access_set_id)
              WHERE principal_id = asker AND realm = sources_realm AND chunk_count > 0
                AND {within_scope}
              LIMIT few_sources + 1) AS first_ones;
    ELSIF wanted_providers IS NOT NULL THEN
        SELECT array_agg(id), sum(chunk_count) INTO visible, visible_chunks
        FROM (SELECT source.id, chunk_count
              FROM access_member JOIN source USING (access_set_id)
              WHERE principal_id = asker AND realm = sources_realm AND chunk_count > 0
                AND provider = ANY (wanted_providers)
              LIMIT few_sources + 1) AS first_ones;
    ELSE
        SELECT array_agg(id), sum(chunk_count) INTO visible, visible_chunks
        FROM (SELECT source.id, chunk_count
              FROM access_member JOIN source USING (access_set_id)
              WHERE principal_id = asker AND realm = sources_realm AND chunk_count > 0
              LIMIT few_sources + 1) AS first_ones;
    END IF;
    IF NOT much AND visible IS NULL THEN
        RETURN;
    END IF;
    few := NOT much AND cardinality(visible) <= few_sources AND visible_chunks <= few_chunks;
    very_few := few AND visible_chunks <= scanned_chunks;
    all_known := wanted_refs IS NOT NULL OR NOT much AND cardinality(visible) <= few_sources;

    -- By meaning.
    IF meaning > 0 THEN
        IF few THEN
            nearest := ARRAY(
                SELECT embedding.chunk_id FROM {embedding} AS embedding
                WHERE source_id = ANY (visible)
                ORDER BY (embedding.v <#> question) + 0, embedding.chunk_id
                LIMIT candidates);
        ELSE
            IF vectors_indexed THEN
                -- The less of the index is visible, the more of it is looked at in one go: going on afterwards finds
                -- less. Readers of everything are not made to wait.
                share_visible := coalesce(share_visible, cardinality(visible) / all_sources);
                PERFORM set_config('hnsw.ef_search',
                    greatest(150, least(800, 65 / greatest(share_visible, 0.001)))::integer::text, true);
                nearest := ARRAY(
                    SELECT found.chunk_id
                    FROM (SELECT candidate.chunk_id, candidate.v <#> question AS distance
                          FROM {embedding} AS candidate
                          WHERE {may_read}
                          ORDER BY candidate.v <#> question
                          LIMIT candidates) AS found
                    ORDER BY distance, found.chunk_id);
            END IF;
            -- There is no index, or it gave up, for what is visible lies far from the question: all of it is scanned.
            IF cardinality(nearest) < wanted THEN
                nearest := ARRAY(
                    SELECT embedding.chunk_id
                    FROM access_member
                    JOIN source USING (access_set_id)
                    JOIN {embedding} AS embedding ON embedding.source_id = source.id
                    WHERE principal_id = asker AND realm = sources_realm AND chunk_count > 0
                      AND (wanted_refs IS NULL OR source.id IN (SELECT unnest(visible)))
                      AND {within_scope}
                    ORDER BY (embedding.v <#> question) + 0, embedding.chunk_id
                    LIMIT candidates);
            END IF;
        END IF;
    END IF;

    -- By words: the question's terms, the rarest first, each weighted by how few chunks hold it. Where little is visible
    -- that is told by what is visible alone, and so are the languages: else what the asker may not read would show in the
    -- order of what he may. All of it is read once, and ranked. Where much is visible a sample of all tells it.
    IF by_words > 0 AND very_few THEN
        WITH held AS MATERIALIZED (
            SELECT words.chunk_id AS id, language AS spoken, impacts FROM words WHERE source_id = ANY (visible)
        ), sample AS MATERIALIZED (
            SELECT count(*)::float8 AS chunks, max(id) AS last
            FROM (SELECT id FROM held ORDER BY id LIMIT sampled_chunks) AS first_ones
        ), asked AS MATERIALIZED ( -- each term by itself as a vector: made once, for that costs more than a comparison
            SELECT term, ('{{' || term || ':1}}/1000000000')::sparsevec AS alone
            FROM (SELECT term_id(lexeme) AS term
                  FROM (SELECT DISTINCT spoken FROM held) AS languages
                  CROSS JOIN LATERAL unnest(to_tsvector(spoken, question_text))
                  UNION
                  SELECT term_id(name) FROM unnest(question_names) AS name) AS named
        ), weighted AS MATERIALIZED (
            SELECT array_agg(term ORDER BY share, term) AS found,
                ('{{' || string_agg(term || ':' || ln(1 + (1 - share + 0.5 / chunks) / (share + 0.5 / chunks)), ',')
                 || '}}/1000000000')::sparsevec AS weights
            FROM (SELECT term, chunks, share
                  FROM (SELECT term, chunks,
                            (SELECT count(*) FROM held WHERE id <= last AND impacts <#> alone < 0) / chunks AS share
                        FROM asked CROSS JOIN sample WHERE chunks > 0) AS known
                  WHERE share > 0 OR visible_chunks > sampled_chunks
                  ORDER BY share LIMIT most_terms) AS counted
        )
        SELECT found, weights, ARRAY(
                SELECT id FROM (SELECT id, impacts <#> weights AS score FROM held) AS scored
                WHERE score < 0 ORDER BY score, id LIMIT candidates)
        INTO terms, impacts_wanted, best
        FROM weighted;
    ELSIF by_words > 0 THEN
        total := coalesce((SELECT chunks FROM word_sample),
            (SELECT count(*) FROM (SELECT FROM words LIMIT few_chunks) AS first_ones));
        SELECT array_agg(term ORDER BY share, term), array_agg(share * total ORDER BY share, term),
            ('{{' || string_agg(term || ':' || ln(1 + (1 - share + 0.5 / total) / (share + 0.5 / total)), ',')
             || '}}/1000000000')::sparsevec
        INTO terms, expected, impacts_wanted
        FROM (SELECT term, least(share, 1) AS share
              FROM (SELECT asked.term, coalesce(
                        (SELECT word_share.share FROM word_share WHERE word_share.key = asked.term),
                        CASE WHEN words_indexed THEN
                            (SELECT count(*) FROM (SELECT FROM words WHERE word_keys(impacts) @> ARRAY[asked.term]
                                                   LIMIT 1000) AS first_ones) / greatest(total, 1)
                        ELSE 0.001 END)::float8 AS share
                    FROM (SELECT term_id(lexeme) AS term
                          FROM word_language CROSS JOIN LATERAL unnest(to_tsvector(language, question_text))
                          UNION
                          SELECT term_id(name) FROM unnest(question_names) AS name) AS asked) AS known
              WHERE share > 0
              ORDER BY share LIMIT most_terms) AS counted;
    END IF;
    IF terms IS NULL OR very_few THEN
        NULL;
    ELSIF few AND (NOT words_indexed OR visible_chunks * 2500 < 2 * candidates * total) THEN
        best := ARRAY(
            SELECT scored.chunk_id
            FROM (SELECT words.chunk_id, words.impacts <#> impacts_wanted AS score FROM words
                  WHERE source_id = ANY (visible)) AS scored
            WHERE score < 0 ORDER BY score, scored.chunk_id LIMIT candidates);
    ELSIF words_indexed THEN
        -- Few keys choose the candidates, and all terms rank them: a chunk that holds none of the telling terms could
        -- hardly come first (Turtle, Flood 1995). Keys are taken while few chunks hold them: rare terms; of frequent
        -- ones the chunks that say much about them; and chunks that hold several frequent ones together. At last, where
        -- hardly a chunk says much about the frequent ones, any that hold the rarest of them will do.
        FOREACH budget IN ARRAY ARRAY[2500, 10000, NULL] LOOP
            IF budget IS NULL THEN
                budget := 10000;
                telling := telling || terms[1];
                together := NULL;
            ELSE
                telling := ARRAY(
                    SELECT key
                    FROM (SELECT key, sum(holders) OVER (ORDER BY tier, holders, key) AS so_far
                          FROM (SELECT 0 AS tier, term AS key, holders
                                FROM unnest(terms, expected) AS asked (term, holders)
                                UNION ALL
                                SELECT tier, key, coalesce((SELECT word_share.share * total FROM word_share
                                                            WHERE word_share.key = strong.key), 0)
                                FROM unnest(terms, expected) AS asked (term, holders)
                                CROSS JOIN LATERAL (VALUES (1, term + 1073741824), (2, term + 536870912))
                                    AS strong (tier, key)
                                WHERE holders > budget) AS keys
                          WHERE holders <= budget) AS cumulated
                    WHERE so_far <= budget);
                together := NULL;
                IF NOT telling && terms AND cardinality(terms) > 1 THEN
                    SELECT terms[1:place] INTO together
                    FROM unnest(expected) WITH ORDINALITY AS asked (holders, place)
                    WHERE place > 1 AND (place = cardinality(terms) OR budget > total * (
                        SELECT exp(sum(ln(holders / total))) FROM unnest(expected[1:place]) AS holders))
                    ORDER BY place LIMIT 1;
                END IF;
            END IF;
            best := ARRAY(
                SELECT candidate.chunk_id
                FROM (SELECT chosen.chunk_id, chosen.source_id, chosen.impacts <#> impacts_wanted AS score
                      FROM (SELECT words.chunk_id, words.source_id, words.impacts FROM words
                            WHERE word_keys(words.impacts) && telling OR word_keys(words.impacts) @> together
                            LIMIT 2 * budget) AS chosen
                      ORDER BY score, chosen.chunk_id LIMIT 2 * budget) AS candidate
                WHERE {may_read}
                LIMIT candidates);
            EXIT WHEN cardinality(best) >= enough_by_words OR telling @> terms;
        END LOOP;
    END IF;

    -- Both lists joined by score: each score from 0, the worst of the candidates (for words: none of them), to 1, the
    -- best. Every candidate has both, whichever list it came from.
    winners := ARRAY(
        SELECT id
        FROM (SELECT id, meaning * coalesce((cosine - min(cosine) OVER ())
                    / nullif(max(cosine) OVER () - min(cosine) OVER (), 0), 0)
                + by_words * coalesce(impact / nullif(max(impact) OVER (), 0), 0) AS score
              FROM (SELECT candidate.id,
                        CASE WHEN meaning > 0 THEN -(embedding.v <#> question) END AS cosine,
                        CASE WHEN terms IS NOT NULL THEN -(words.impacts <#> impacts_wanted) END AS impact
                    FROM (SELECT unnest(nearest) UNION SELECT unnest(best)) AS candidate (id)
                    JOIN words ON words.chunk_id = candidate.id
                    LEFT JOIN {embedding} AS embedding ON embedding.chunk_id = candidate.id) AS scored) AS joined
        ORDER BY score DESC, id LIMIT wanted);

    -- Readable text for the winners alone, after one more look at the rights.
    RETURN QUERY
    SELECT chunk.id, source.ref, source.title, source.modified_at, chunk_text.text,
        chunk.page, chunk.sheet, chunk.slide, chunk.heading, words.language::text,
        coalesce(-(embedding.v <#> question), 0)::float8, chunk.ordinal
    FROM unnest(winners) WITH ORDINALITY AS won (id, rank)
    JOIN chunk ON chunk.id = won.id
    JOIN chunk_text ON chunk_text.chunk_id = chunk.id
    JOIN words ON words.chunk_id = chunk.id
    JOIN source ON source.id = chunk.source_id AND source.realm = sources_realm AND source.ref IS NOT NULL
    LEFT JOIN {embedding} AS embedding ON embedding.chunk_id = chunk.id
    WHERE EXISTS (SELECT FROM access_member WHERE access_set_id = source.access_set_id AND principal_id = asker)
    ORDER BY won.rank;
END
$function$
