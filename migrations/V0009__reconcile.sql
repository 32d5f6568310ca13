-- Reconcile, import of foreign keys, audit of the counters (docs/adr/0017).
-- An older release beside this one knows no runs; it reads, overwrites and deletes imported objects as any other.

-- ---------------------------------------------------------------- what a blob on a backend is looked up by

-- A foreign blob is one object's: whoever deletes that deletes the blob.
CREATE UNIQUE INDEX copies_foreign ON copies (backend, foreign_key) WHERE foreign_key IS NOT NULL;

-- Whether something is queued for deletion: every blob that a listing shows and that waits there is asked for.
CREATE INDEX cleanup_queue_by_key ON cleanup_queue (backend, storage_key);
CREATE INDEX cleanup_dlq_by_key ON cleanup_dlq (backend, storage_key);

-- ---------------------------------------------------------------- runs

-- Each backend's last run.
CREATE TABLE reconcile_runs (
    backend         int PRIMARY KEY,
    id              bigint GENERATED ALWAYS AS IDENTITY,
    kind            text NOT NULL CHECK (kind IN ('reconcile', 'import')),
    -- Of an import: into which bucket, and which keys on the backend.
    bucket          int,
    prefix          text COLLATE "C" NOT NULL DEFAULT '',
    dry_run         boolean NOT NULL,
    accept_losses   boolean NOT NULL,
    state           text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed')),
    phase           text NOT NULL DEFAULT 'plain' CHECK (phase IN ('plain', 'hashed')),
    -- How far it is: the last storage key.
    cursor          text COLLATE "C" NOT NULL DEFAULT '',
    -- Copies that the backend had when it began.
    expected        bigint NOT NULL DEFAULT 0,
    -- s3o_core::reconcile::RunTally.
    tally           jsonb NOT NULL DEFAULT '{}',
    error           text,
    begun           timestamptz NOT NULL DEFAULT now(),
    ended           timestamptz,
    -- When the last reconcile of the backend began.
    last_reconcile  timestamptz,
    claimed_by      uuid,
    claimed_until   timestamptz
);

-- Rows of a run whose storage keys are hashed: gathered in the order of their keys, compared in that of their hashes.
CREATE TABLE reconcile_hashed (
    backend      int NOT NULL,
    storage_key  text COLLATE "C" NOT NULL,
    run          bigint NOT NULL,
    bucket       int NOT NULL,
    key          text COLLATE "C" NOT NULL,
    version      uuid NOT NULL,
    extent       smallint NOT NULL,
    gen          smallint NOT NULL,
    state        text NOT NULL,
    stored_size  bigint NOT NULL,
    backend_etag text,
    PRIMARY KEY (backend, storage_key)
);

-- ---------------------------------------------------------------- what runs find

-- Copies whose blobs are gone and that no other copy can replace. Their rows stay as they are.
CREATE TABLE lost_copies (
    version uuid NOT NULL,
    extent  smallint NOT NULL,
    backend int NOT NULL,
    gen     smallint NOT NULL,
    bucket  int NOT NULL,
    key     text COLLATE "C" NOT NULL,
    seen    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (version, extent, backend)
);

-- How far version_seq was, now and then: which versions are older than a time.
CREATE TABLE version_marks (
    at       timestamptz PRIMARY KEY,
    sequence bigint NOT NULL
);
