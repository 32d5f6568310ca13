-- Several copies of one version: those that are to be made or taken away, and the attempts at them (docs/adr/0011).
-- An older release beside this one makes no copies; it leaves the intents of those that do alone.

-- ---------------------------------------------------------------- copies

-- The MD5 of an extent's bytes, where the copy is a piece; of a whole object its ETag says it.
ALTER TABLE copies ADD COLUMN md5 uuid;

-- How often workers have begun to write an extent: the next attempt's `gen`. Written under slot 0 of the usage only, and
-- kept until the version is gone, so that no storage key is ever written twice.
CREATE TABLE copy_attempts (
    version  uuid NOT NULL,
    extent   smallint NOT NULL,
    attempts smallint NOT NULL,
    PRIMARY KEY (version, extent)
);

-- Where else a part is stored, as [s3o_core::upload::PartCopy]; NULL: nowhere.
ALTER TABLE upload_parts ADD COLUMN others jsonb;

-- Every blob of a stored part.
CREATE VIEW part_copies AS
    SELECT upload, part, gen, backend, size FROM upload_parts
    UNION ALL
    SELECT p.upload, p.part, p.gen, (o.value ->> 'backend')::int, p.size
    FROM upload_parts p, jsonb_array_elements(p.others) AS o;

ALTER TABLE intents DROP CONSTRAINT intents_kind_check;
ALTER TABLE intents ADD CONSTRAINT intents_kind_check CHECK (kind IN ('put', 'copy', 'part', 'replicate'));

-- ---------------------------------------------------------------- the queue

-- Versions that have too few copies, or too many.
CREATE TABLE replication_queue (
    version       uuid PRIMARY KEY,
    bucket        int NOT NULL,
    key           text COLLATE "C" NOT NULL,
    task          text NOT NULL CHECK (task IN ('add', 'trim')),
    -- Queued again while it was claimed: what its worker found may be out of date.
    again         boolean NOT NULL DEFAULT false,
    attempts      int NOT NULL DEFAULT 0,
    last_error    text,
    queued        timestamptz NOT NULL DEFAULT now(),
    not_before    timestamptz NOT NULL DEFAULT now(),
    claimed_by    uuid,
    claimed_until timestamptz
);
CREATE INDEX replication_queue_due ON replication_queue (task, not_before);

-- ---------------------------------------------------------------- scans that fill it

-- What changed for many versions at once: they are queued page by page.
CREATE TABLE copy_scans (
    -- 'drain', 'unhealthy', 'returned': the versions on a backend; 'factor': those of a bucket.
    kind          text NOT NULL CHECK (kind IN ('drain', 'unhealthy', 'returned', 'factor')),
    subject       int NOT NULL,
    -- How far it is.
    after_version uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    after_key     text COLLATE "C" NOT NULL DEFAULT '',
    queued        bigint NOT NULL DEFAULT 0,
    -- At the end of its last pass; a drain is at the end only when nothing is left.
    finished      boolean NOT NULL DEFAULT false,
    started       timestamptz NOT NULL DEFAULT now(),
    not_before    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, subject)
);

-- How the replicas' workers see the backends: one is unhealthy when all of them say so.
CREATE TABLE backend_views (
    replica uuid NOT NULL,
    backend int NOT NULL,
    -- NULL: it is up.
    down_us bigint,
    seen    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (replica, backend)
);

-- The operator wants it empty, whatever YAML declares.
ALTER TABLE backends ADD COLUMN asked_to_drain boolean NOT NULL DEFAULT false;

-- Backends that left YAML under an earlier release are drained from now on.
INSERT INTO copy_scans (kind, subject) SELECT 'drain', id FROM backends WHERE state = 'draining';
