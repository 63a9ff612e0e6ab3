-- SPDX-License-Identifier: AGPL-3.0-or-later

-- name: alone
-- One load at a time.
SELECT pg_advisory_xact_lock(5004000007)

-- name: incoming
-- Where the new rows of a catalogue come in.
CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT {columns} FROM {table} LIMIT 0

-- name: copy_in
-- The new rows.
COPY incoming ({columns}) FROM STDIN

-- name: removed
-- What is not in the catalogue any more.
DELETE FROM {table} AS old WHERE NOT EXISTS (SELECT FROM incoming WHERE incoming.{key} = old.{key})

-- name: unchanged
-- What is in it as it was.
DELETE FROM incoming USING {table} AS old
WHERE incoming.{key} = old.{key} AND ({of_incoming}) IS NOT DISTINCT FROM ({of_old})

-- name: changed
-- What is in it, and is not what it was.
DELETE FROM {table} AS old USING incoming WHERE incoming.{key} = old.{key}

-- name: changed_in_place
-- The same for rows that others hang on.
UPDATE {table} AS old SET ({columns}) = ROW ({of_incoming}) FROM incoming WHERE incoming.{key} = old.{key}

-- name: added
-- What was not in it.
INSERT INTO {table} ({columns}) SELECT {columns} FROM incoming
WHERE NOT EXISTS (SELECT FROM {table} AS old WHERE incoming.{key} = old.{key})

-- name: analysed
-- So that searches are planned for what is there now.
ANALYZE {table}

-- name: sizes
-- How much there is, how old the newest price is, and whether samples are among it.
SELECT (SELECT count(*) FROM cloud.instances), (SELECT count(*) FROM cloud.bitnami_packages),
    (SELECT count(*) FROM hf.models), (SELECT max(price_as_of) FROM cloud.instances),
    EXISTS (SELECT FROM cloud.instances WHERE price_source = 'sample')

-- name: providers
-- Who rents out machines, each once, without reading all of them.
WITH RECURSIVE named AS (
    (SELECT provider FROM cloud.instances ORDER BY provider LIMIT 1)
    UNION ALL
    SELECT (SELECT provider FROM cloud.instances WHERE provider > named.provider ORDER BY provider LIMIT 1)
    FROM named WHERE named.provider IS NOT NULL
)
SELECT provider FROM named WHERE provider IS NOT NULL

-- name: regions
-- Where machines stand, each once.
WITH RECURSIVE named AS (
    (SELECT region FROM cloud.instances ORDER BY region LIMIT 1)
    UNION ALL
    SELECT (SELECT region FROM cloud.instances WHERE region > named.region ORDER BY region LIMIT 1)
    FROM named WHERE named.region IS NOT NULL
)
SELECT region FROM named WHERE region IS NOT NULL

-- name: models_named
-- Models somebody may mean by one of these words, the most used of each first.
SELECT DISTINCT ON (short_name) short_name, model_id, pipeline_tag, parameters_b
FROM hf.models
WHERE short_name = ANY (%(names)s) OR model_id = ANY (%(ids)s)
ORDER BY short_name, downloads DESC, model_id

-- name: instances
-- Machines within some limits in the order in which they are offered; what is NULL is no limit.
SELECT id, provider, name, region, gpu_model, gpu_count, vram_per_gpu_gb, vram_gb, vcpu, ram_gb,
    price_hourly, price_monthly, currency, price_as_of, price_source
FROM cloud.instances
WHERE (%(gpu_needed)s::boolean IS NULL OR (gpu_count > 0) = %(gpu_needed)s)
  AND (%(min_vram_gb)s::numeric IS NULL OR vram_gb >= %(min_vram_gb)s)
  AND (%(min_vram_per_gpu_gb)s::numeric IS NULL OR vram_per_gpu_gb >= %(min_vram_per_gpu_gb)s)
  AND (%(min_gpu_count)s::integer IS NULL OR gpu_count >= %(min_gpu_count)s)
  AND (%(gpu_model)s::text IS NULL OR strpos(lower(gpu_model), %(gpu_model)s) > 0)
  AND (%(max_price_monthly)s::numeric IS NULL OR price_monthly <= %(max_price_monthly)s)
  AND (%(max_price_hourly)s::numeric IS NULL OR price_hourly <= %(max_price_hourly)s)
  AND (%(providers)s::text[] IS NULL OR lower(provider) = ANY (%(providers)s))
  AND (%(regions)s::text[] IS NULL OR lower(region) = ANY (%(regions)s))
  AND (%(min_vcpu)s::numeric IS NULL OR vcpu >= %(min_vcpu)s)
  AND (%(min_ram_gb)s::numeric IS NULL OR ram_gb >= %(min_ram_gb)s)
ORDER BY price_monthly NULLS LAST, vram_gb DESC, gpu_count DESC, provider, name, region, id
LIMIT %(limit)s

-- name: count_instances
-- How many there are within the same limits.
SELECT count(*)
FROM cloud.instances
WHERE (%(gpu_needed)s::boolean IS NULL OR (gpu_count > 0) = %(gpu_needed)s)
  AND (%(min_vram_gb)s::numeric IS NULL OR vram_gb >= %(min_vram_gb)s)
  AND (%(min_vram_per_gpu_gb)s::numeric IS NULL OR vram_per_gpu_gb >= %(min_vram_per_gpu_gb)s)
  AND (%(min_gpu_count)s::integer IS NULL OR gpu_count >= %(min_gpu_count)s)
  AND (%(gpu_model)s::text IS NULL OR strpos(lower(gpu_model), %(gpu_model)s) > 0)
  AND (%(max_price_monthly)s::numeric IS NULL OR price_monthly <= %(max_price_monthly)s)
  AND (%(max_price_hourly)s::numeric IS NULL OR price_hourly <= %(max_price_hourly)s)
  AND (%(providers)s::text[] IS NULL OR lower(provider) = ANY (%(providers)s))
  AND (%(regions)s::text[] IS NULL OR lower(region) = ANY (%(regions)s))
  AND (%(min_vcpu)s::numeric IS NULL OR vcpu >= %(min_vcpu)s)
  AND (%(min_ram_gb)s::numeric IS NULL OR ram_gb >= %(min_ram_gb)s)

-- name: packages_named
-- Packages with these very names, whatever their case.
SELECT id, name, version, app_version, description, repository, keywords, stars, official
FROM cloud.bitnami_packages WHERE lower(name) = ANY (%(names)s)

-- name: packages
-- For each query the packages that hold its words or its letters, in the order in which they are offered. Many queries
-- read the table once.
WITH asked AS MATERIALIZED (
    SELECT number, query, lower(query COLLATE "C") AS letters
    FROM unnest(%(queries)s::text[]) WITH ORDINALITY AS listed (query, number)
), found AS (
    SELECT number, id FROM asked JOIN cloud.bitnami_packages AS package ON strpos(package.letters, asked.letters) > 0
    UNION
    SELECT number, id FROM asked
    JOIN cloud.bitnami_packages ON search_tsv @@ websearch_to_tsquery('english', query)
), ranked AS (
    SELECT number, package.*, row_number() OVER (
        PARTITION BY number
        ORDER BY lower(name) = asked.letters DESC, starts_with(lower(name), asked.letters) DESC,
            strpos(lower(name), asked.letters) > 0 DESC, strpos(lower(description), asked.letters) > 0 DESC,
            stars DESC, official DESC, name, id) AS place
    FROM found JOIN asked USING (number) JOIN cloud.bitnami_packages AS package USING (id)
)
SELECT number, id, name, version, app_version, description, repository, keywords, stars, official
FROM ranked WHERE place <= %(limit)s ORDER BY number, place
