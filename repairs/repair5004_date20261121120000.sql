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

