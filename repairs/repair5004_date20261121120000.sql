-- SPDX-License-Identifier: AGPL-3.0-or-later
-- 5.4: from the first schema with ranked words to that of 5.4.0. Databases of that time noted no steps.

-- Sources: quarantine, turns of readers, files that are fetched, and what became of the latest attempt.
ALTER TYPE source_state ADD VALUE 'quarantined' BEFORE 'gone';
ALTER TABLE source
    ADD remote boolean NOT NULL DEFAULT false,
    ADD file_row bigint,
    ADD precedence double precision NOT NULL DEFAULT 0,
    ADD outdated boolean NOT NULL DEFAULT false,
    ADD started_at timestamptz,
    ADD parser text,
    ADD characters integer,
    ADD parse_ms integer,
    ADD embed_ms integer;
UPDATE source SET precedence = extract(epoch FROM modified_at) - 43200 * log(2, 1 + size) WHERE state = 'waiting';
DROP INDEX source_due;
CREATE INDEX source_urgent ON source (next_attempt_at) WHERE state = 'waiting' AND priority > 0;
CREATE INDEX source_due ON source (access_set_id, precedence DESC, id) WHERE state = 'waiting';

-- The same text is embedded once: known for what is indexed from now on.
ALTER TABLE chunk ADD content uuid;
CREATE INDEX chunk_by_content ON chunk (content);

-- Reckoned by the program: store/impacts.py.
DROP FUNCTION word_impacts(regconfig, text, text[]);

-- Spaces: one answers, at most one is being filled. Others received new chunks only; they may be behind.
ALTER TABLE embedding_space
    DROP CONSTRAINT embedding_space_state_check,
    ADD embedder jsonb,
    ADD complete boolean,
    ADD chunks_per_second real,
    ADD retired_at timestamptz;
DROP INDEX embedding_space_answering;
UPDATE embedding_space SET
    complete = false,
    retired_at = CASE WHEN state = 'live' THEN now() END,
    state = CASE WHEN state = 'live' THEN 'retired' ELSE state END;
ALTER TABLE embedding_space
    ADD CHECK (state IN ('filling', 'answering', 'retired')),
    ALTER complete SET NOT NULL;
CREATE UNIQUE INDEX embedding_space_one_of_each ON embedding_space (state) WHERE state <> 'retired';

ALTER TABLE action_log ADD known boolean NOT NULL DEFAULT false;

-- What is new as a whole, as schema.sql makes it (written by python -m tests.schemas).

-- Rows of Nextcloud's queues as they were leased, until they are admitted: Nextcloud gives them to nobody for a day.
CREATE TABLE leased_row (
    queue text NOT NULL,
    row_id bigint NOT NULL,
    payload text NOT NULL,
    -- when its readers were read at the earliest
    readers_since timestamptz NOT NULL,
    PRIMARY KEY (queue, row_id)
);

-- What actions did to a source, to a provider, or ('') to a user who was deleted, for three days: one whose lease was
-- lost comes a day late, and takes the place among these that it should have had.
CREATE TABLE applied_action (
    target text NOT NULL,
    action_id bigint NOT NULL,
    kind text NOT NULL,
    readers text[] NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, action_id)
);
CREATE INDEX applied_action_by_time ON applied_action USING brin (at);

-- The highest id of an action that had been applied when a source's readers were listed last; for '' the highest of all.
CREATE TABLE listed_after (
    target text PRIMARY KEY,
    action_id bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);

-- Tasks Nextcloud handed to a process, until it has their results: it gives them to nobody else.
CREATE TABLE task (
    id bigint PRIMARY KEY,
    -- the process that has it in work, until then
    holder text NOT NULL,
    until timestamptz NOT NULL,
    -- what Nextcloud is to be told; NULL while it is in work
    result jsonb,
    taken_at timestamptz NOT NULL DEFAULT now()
);

-- The steps of repairs/ this database has had, or never needed: store/history.py.
CREATE TABLE repair (
    name text PRIMARY KEY,
    -- the version of the program that made it
    version text NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now()
);

-- Batches of sources of an old index that were taken over, in the order of their ids: what was deleted since does not come
-- back when a run that was cut off goes on.
CREATE TABLE reference_batch (
    digest text NOT NULL, -- of the old index
    first text NOT NULL,
    last text NOT NULL
);

-- Documents without Nextcloud lie in collections. Those of the collection town have the provider collection__town, and
-- beside their other readers the principal town of the realm collection, as which a key of that collection asks.
CREATE SCHEMA knowledge;
CREATE TABLE knowledge.collections (
    name text PRIMARY KEY,
    title text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Who reads all of a collection, also what is put into it later.
CREATE TABLE knowledge.collection_readers (
    collection text NOT NULL REFERENCES knowledge.collections ON DELETE CASCADE,
    realm text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (collection, realm, name)
);

-- Keys of programs. The key itself is nowhere: only its SHA-256, and how it begins.
CREATE SCHEMA access;
CREATE TABLE access.api_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    digest bytea NOT NULL UNIQUE,
    display text NOT NULL,
    client_name text NOT NULL,
    notes text NOT NULL DEFAULT '',
    -- the local user it speaks for; NULL: for its collections
    user_name text,
    -- what it is kept to; empty: all its user may read
    collections text[] NOT NULL,
    scopes text[] NOT NULL,
    -- the models it may name; empty: all
    models text[] NOT NULL DEFAULT '{}',
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    expires_at timestamptz,
    rate_limit_per_minute integer CHECK (rate_limit_per_minute > 0),
    -- how often it was used in the minute that began then
    minute timestamptz,
    used integer NOT NULL DEFAULT 0,
    daily_limit integer CHECK (daily_limit > 0),
    daily_token_limit bigint CHECK (daily_token_limit > 0),
    -- how often, and with how many tokens, it was used on that day (UTC)
    day date,
    used_today integer NOT NULL DEFAULT 0,
    tokens_today bigint NOT NULL DEFAULT 0,
    CHECK (user_name IS NOT NULL OR cardinality(collections) > 0 OR NOT 'chat' = ANY (scopes))
);

-- One row for each answer to a program; nothing of what was asked.
CREATE TABLE access.usage (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    key_id uuid,
    principal text NOT NULL,
    surface text NOT NULL,
    model text NOT NULL,
    prompt_tokens integer NOT NULL,
    completion_tokens integer NOT NULL,
    first_byte_ms integer,
    total_ms integer NOT NULL,
    status integer NOT NULL,
    cancelled boolean NOT NULL
);
CREATE INDEX usage_by_key ON access.usage (key_id, at);
CREATE INDEX usage_by_time ON access.usage (at);

-- How often somebody asked in the minute that began then.
CREATE UNLOGGED TABLE access.askers (
    realm text NOT NULL,
    name text NOT NULL,
    minute timestamptz NOT NULL,
    used integer NOT NULL,
    PRIMARY KEY (realm, name)
);

-- Requests whose answers their key wants no more of.
CREATE UNLOGGED TABLE access.stops (
    request_id text NOT NULL,
    key_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (request_id, key_id)
);

-- What users asked and were answered, where a caller names a conversation.
CREATE SCHEMA chat;
CREATE TABLE chat.conversations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- whose it is, and by whose rights its messages are read; a name, not an id: a user may have no sources (any more)
    realm text NOT NULL,
    name text NOT NULL,
    -- a key that is kept to some collections has conversations of its own; '': of no such key
    key_id text NOT NULL,
    -- 'chat': questions and answers; 'planner': plans, which go on from `state`
    surface text NOT NULL DEFAULT 'chat',
    title text NOT NULL DEFAULT '',
    message_count integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    state jsonb NOT NULL DEFAULT '{}',
    -- whose message is being answered, until then; the next one waits
    holder uuid,
    held_until timestamptz,
    -- the messages up to this one in few words, and the sources of these words
    summary text NOT NULL DEFAULT '',
    summary_until integer NOT NULL DEFAULT 0,
    summary_sources bigint[] NOT NULL DEFAULT '{}'
);
CREATE INDEX conversation_by_owner ON chat.conversations (realm, name, updated_at DESC);
CREATE INDEX conversation_by_age ON chat.conversations (updated_at);

-- Each question is followed by its answer; both have the same sources.
CREATE TABLE chat.messages (
    conversation_id uuid NOT NULL REFERENCES chat.conversations ON DELETE CASCADE,
    -- from 1
    seq integer NOT NULL,
    role text NOT NULL CHECK (role IN ('user', 'assistant')),
    content text NOT NULL,
    -- ids of all sources whose text may stand in it; it is shown while its owner may read each of them, and erased when
    -- one of them is deleted
    sources bigint[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    -- what an answer holds beside its text: a plan with its rows
    metadata jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (conversation_id, seq)
);
CREATE INDEX message_by_source ON chat.messages USING gin (sources);

-- What was thought of an answer: 1 or -1.
CREATE TABLE chat.feedback (
    request_id text NOT NULL,
    key_id uuid NOT NULL,
    rating smallint NOT NULL CHECK (rating IN (-1, 1)),
    comment text NOT NULL DEFAULT '',
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (request_id, key_id)
);

-- Whether a user may read all of these sources now; of none he may.
CREATE FUNCTION reads_all(asker_realm text, asker_name text, ids bigint[]) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT NOT EXISTS (
        SELECT FROM unnest(ids) AS wanted (id)
        WHERE NOT EXISTS (
            SELECT FROM source
            JOIN access_member USING (access_set_id)
            JOIN principal ON principal.id = access_member.principal_id
            WHERE source.id = wanted.id AND principal.realm = asker_realm AND principal.name = asker_name))
$$;

-- Conversations are read in their owner's name: context_chat.realm and context_chat.name are set with the principals.
ALTER TABLE chat.conversations ENABLE ROW LEVEL SECURITY;
ALTER TABLE chat.conversations FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON chat.conversations USING (
    0 = ANY (reading_principals())
    OR (realm = current_setting('context_chat.realm', true) AND name = current_setting('context_chat.name', true)));

ALTER TABLE chat.messages ENABLE ROW LEVEL SECURITY;
ALTER TABLE chat.messages FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON chat.messages
    USING (EXISTS (SELECT FROM chat.conversations WHERE conversations.id = messages.conversation_id));

-- Catalogues that deployments are planned from. They hold nothing of users: whoever may ask reads all of them. Texts are
-- compared byte by byte, so that their order does not depend on where the server stands.
CREATE SCHEMA cloud;
CREATE TABLE cloud.instances (
    id text COLLATE "C" PRIMARY KEY,
    provider text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    region text COLLATE "C" NOT NULL,
    gpu_model text COLLATE "C",
    gpu_count integer NOT NULL DEFAULT 0 CHECK (gpu_count >= 0),
    vram_per_gpu_gb numeric NOT NULL DEFAULT 0,
    -- of all its GPUs together
    vram_gb numeric NOT NULL DEFAULT 0,
    vcpu integer NOT NULL,
    ram_gb numeric NOT NULL,
    price_hourly numeric CHECK (price_hourly > 0),
    price_monthly numeric CHECK (price_monthly > 0),
    currency text COLLATE "C" NOT NULL DEFAULT 'USD',
    price_as_of date,
    price_source text COLLATE "C" NOT NULL,
    UNIQUE (provider, name, region)
);
-- the order in which they are offered
CREATE INDEX instance_by_rank ON cloud.instances
    (price_monthly, vram_gb DESC, gpu_count DESC, provider, name, region, id);
CREATE INDEX instance_by_region ON cloud.instances (region);

CREATE FUNCTION package_words(name text, description text, keywords text[]) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT setweight(to_tsvector('english', name), 'A')
        || setweight(to_tsvector('english', array_to_string(keywords, ' ')), 'B')
        || setweight(to_tsvector('english', description), 'C')
$$;

-- Packages for Kubernetes.
CREATE TABLE cloud.bitnami_packages (
    id text COLLATE "C" PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    version text COLLATE "C" NOT NULL,
    app_version text COLLATE "C" NOT NULL DEFAULT '',
    description text COLLATE "C" NOT NULL DEFAULT '',
    repository text COLLATE "C" NOT NULL DEFAULT '',
    keywords text[] NOT NULL DEFAULT '{}',
    stars integer NOT NULL DEFAULT 0 CHECK (stars >= 0),
    official boolean NOT NULL DEFAULT false,
    -- where the letters of a query are looked for
    letters text COLLATE "C" NOT NULL GENERATED ALWAYS AS (lower(name) || E'\n' || lower(description)) STORED,
    search_tsv tsvector NOT NULL GENERATED ALWAYS AS (package_words(name, description, keywords)) STORED
);
CREATE INDEX package_by_name ON cloud.bitnami_packages (lower(name));
CREATE INDEX package_by_words ON cloud.bitnami_packages USING gin (search_tsv);

-- Models with their cards, which several may have in common.
CREATE SCHEMA hf;
CREATE TABLE hf.models (
    model_id text COLLATE "C" PRIMARY KEY,
    pipeline_tag text COLLATE "C" NOT NULL,
    license text COLLATE "C" NOT NULL,
    downloads bigint NOT NULL DEFAULT 0 CHECK (downloads >= 0),
    likes bigint NOT NULL DEFAULT 0 CHECK (likes >= 0),
    parameters_b numeric,
    tags text[] NOT NULL DEFAULT '{}',
    updated_at timestamptz NOT NULL,
    -- the id without its owner, as people write it
    short_name text COLLATE "C" NOT NULL GENERATED ALWAYS AS (lower(split_part(model_id, '/', -1))) STORED
);
CREATE INDEX model_by_tag ON hf.models (pipeline_tag, license);
CREATE INDEX model_by_name ON hf.models (short_name);

CREATE TABLE hf.cards (
    -- SHA-256 of the text
    card_hash text COLLATE "C" PRIMARY KEY,
    card text NOT NULL
);

CREATE TABLE hf.model_to_card (
    model_id text COLLATE "C" NOT NULL REFERENCES hf.models ON DELETE CASCADE,
    card_hash text COLLATE "C" NOT NULL REFERENCES hf.cards ON DELETE CASCADE,
    PRIMARY KEY (model_id, card_hash)
);
CREATE INDEX model_by_card ON hf.model_to_card (card_hash);

-- Pieces of cards with their vectors; the index by meaning is made for each model (store/model_cards.py).
CREATE TABLE hf.card_chunks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    card_hash text COLLATE "C" NOT NULL REFERENCES hf.cards ON DELETE CASCADE,
    chunk_index integer NOT NULL,
    content text NOT NULL,
    embedding vector NOT NULL,
    embedding_model_name text COLLATE "C" NOT NULL,
    chunker_version text COLLATE "C" NOT NULL,
    UNIQUE (card_hash, chunk_index, embedding_model_name, chunker_version)
);
CREATE INDEX card_chunk_by_model ON hf.card_chunks (embedding_model_name, chunker_version);
