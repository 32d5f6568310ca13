-- The tables of the write and read path. Vocabulary and reasons: DESIGN §3, §4, §6; README.md beside this file has the rules.
-- No foreign keys on hot tables: the group commit keeps them consistent, and a check per row is paid on every request.

-- ---------------------------------------------------------------- configuration

CREATE TABLE settings (
    name  text PRIMARY KEY,
    value jsonb NOT NULL
);

INSERT INTO settings (name, value) VALUES
    ('cluster', to_jsonb(gen_random_uuid()::text)),
    ('generation', '0'),
    ('routing', '"pack"'),
    ('declared_hash', '""');

CREATE TABLE buckets (
    id                 int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name               text COLLATE "C" NOT NULL,
    state              text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'deleting', 'gone')),
    ack                text NOT NULL DEFAULT 'one' CHECK (ack IN ('one', 'quorum', 'all')),
    replication_factor smallint NOT NULL DEFAULT 1 CHECK (replication_factor >= 1),
    max_object_size    bigint,
    declared           boolean NOT NULL,
    created            timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX buckets_live_name ON buckets (name) WHERE state <> 'gone';

CREATE TABLE backends (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name            text COLLATE "C" NOT NULL,
    state           text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining', 'removed')),
    -- s3o_types::BackendSpec without id and name: endpoint, region, bucket, credentials, quirks.
    spec            jsonb NOT NULL,
    quota_bytes     bigint,
    max_object_size bigint,
    priority        int NOT NULL DEFAULT 0,
    -- Place in the configuration file, which decides among equal priorities.
    position        int NOT NULL DEFAULT 0,
    declared        boolean NOT NULL,
    -- Whether its marker was read and is ours.
    attached        boolean NOT NULL DEFAULT false,
    -- What the marker's ETag proved: 'unknown', 'md5', 'opaque'.
    etag_proof      text NOT NULL DEFAULT 'unknown'
);
CREATE UNIQUE INDEX backends_live_name ON backends (name) WHERE state <> 'removed';

CREATE TABLE credentials (
    access_key_id     text COLLATE "C" PRIMARY KEY,
    secret_access_key text NOT NULL,
    declared          boolean NOT NULL
);

CREATE TABLE grants (
    access_key_id text COLLATE "C" NOT NULL,
    bucket        int NOT NULL,
    can_write     boolean NOT NULL,
    PRIMARY KEY (access_key_id, bucket)
);

-- ---------------------------------------------------------------- objects

-- The upper half of a version id.
CREATE SEQUENCE version_seq AS bigint;

-- The current, undeleted version of each key.
CREATE TABLE objects (
    bucket       int NOT NULL,
    key          text COLLATE "C" NOT NULL,
    seq          bigint NOT NULL,
    version      uuid NOT NULL,
    size         bigint NOT NULL,
    etag         text NOT NULL,
    modified     timestamptz NOT NULL,
    -- Content headers and user metadata as s3o_types::ObjectAttributes, without the tags; NULL when empty.
    attributes   jsonb,
    checksums    jsonb,
    tags         jsonb,
    is_null      boolean NOT NULL DEFAULT true,
    retain_until timestamptz,
    retain_mode  text,
    legal_hold   boolean NOT NULL DEFAULT false,
    PRIMARY KEY (bucket, key)
);

-- Noncurrent versions and delete markers.
CREATE TABLE object_versions (
    bucket        int NOT NULL,
    key           text COLLATE "C" NOT NULL,
    seq           bigint NOT NULL,
    version       uuid NOT NULL,
    delete_marker boolean NOT NULL DEFAULT false,
    size          bigint NOT NULL,
    etag          text NOT NULL,
    modified      timestamptz NOT NULL,
    attributes    jsonb,
    checksums     jsonb,
    tags          jsonb,
    is_null       boolean NOT NULL,
    retain_until  timestamptz,
    retain_mode   text,
    legal_hold    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (bucket, key, seq)
);

CREATE TABLE copies (
    version         uuid NOT NULL,
    extent          smallint NOT NULL,
    backend         int NOT NULL,
    gen             smallint NOT NULL,
    bucket          int NOT NULL,
    key             text COLLATE "C" NOT NULL,
    state           text NOT NULL CHECK (state IN ('verified', 'uncertain', 'quarantined', 'missing')),
    stored_size     bigint NOT NULL,
    backend_etag    text,
    backend_version text,
    -- s3o_types::Encoding; NULL for plain.
    encoding        jsonb,
    -- Only imported objects keep a key of their own.
    foreign_key     text COLLATE "C",
    PRIMARY KEY (version, extent, backend)
);
CREATE INDEX copies_by_backend ON copies (backend, version);

-- ---------------------------------------------------------------- writes under way

CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    name         text NOT NULL,
    version      text NOT NULL,
    features     text[] NOT NULL DEFAULT '{}',
    opened       timestamptz NOT NULL DEFAULT now(),
    deadline     timestamptz NOT NULL,
    -- Operations open for over a minute, as of the last heartbeat.
    open_ops     uuid[] NOT NULL DEFAULT '{}',
    usage_number bigint NOT NULL DEFAULT 0
);

CREATE TABLE intents (
    op              uuid NOT NULL,
    item            int NOT NULL,
    session         uuid NOT NULL,
    bucket          int NOT NULL,
    key             text COLLATE "C" NOT NULL,
    version         uuid NOT NULL,
    size            bigint NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('put', 'copy')),
    if_absent       boolean NOT NULL DEFAULT false,
    if_match        text,
    required_copies smallint NOT NULL,
    log_floor       bigint NOT NULL,
    begun           timestamptz NOT NULL DEFAULT now(),
    -- Parallel arrays, one entry a target.
    target_backend  int[] NOT NULL,
    target_extent   smallint[] NOT NULL,
    target_gen      smallint[] NOT NULL,
    target_key      text[] NOT NULL,
    -- The reaper that has fenced it off, and when others may take the claim over.
    claimed_by      uuid,
    claimed_until   timestamptz,
    PRIMARY KEY (op, item)
);
CREATE INDEX intents_by_session ON intents (session);

-- ---------------------------------------------------------------- bytes

-- What is stored, by backend and slot. Slot 0 is locked by Begin; others spread the commits. Only the sum means something.
CREATE TABLE backend_usage (
    backend  int NOT NULL,
    slot     smallint NOT NULL,
    used     bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0,
    orphaned bigint NOT NULL DEFAULT 0,
    objects  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (backend, slot)
) WITH (fillfactor = 50);

CREATE TABLE monthly_usage (
    -- The first day of the month, UTC.
    month         date NOT NULL,
    backend       int NOT NULL,
    api_class     text NOT NULL,
    requests      bigint NOT NULL DEFAULT 0,
    ingress_bytes bigint NOT NULL DEFAULT 0,
    egress_bytes  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (month, backend, api_class)
);

CREATE TABLE cleanup_queue (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- 'blob' today; object versions and uploads come with multipart.
    kind            text NOT NULL DEFAULT 'blob',
    backend         int NOT NULL,
    storage_key     text COLLATE "C" NOT NULL,
    version         uuid NOT NULL,
    extent          smallint NOT NULL,
    gen             smallint NOT NULL,
    backend_version text,
    size            bigint NOT NULL,
    reason          text NOT NULL,
    -- A PUT to it may still complete: done only after a second DELETE.
    uncertain       boolean NOT NULL,
    second_pass     boolean NOT NULL DEFAULT false,
    attempts        int NOT NULL DEFAULT 0,
    last_error      text,
    queued          timestamptz NOT NULL DEFAULT now(),
    not_before      timestamptz NOT NULL DEFAULT now(),
    claimed_by      uuid,
    claimed_until   timestamptz
);
CREATE INDEX cleanup_queue_due ON cleanup_queue (not_before);

CREATE TABLE cleanup_dlq (
    id              bigint PRIMARY KEY,
    kind            text NOT NULL,
    backend         int NOT NULL,
    storage_key     text COLLATE "C" NOT NULL,
    version         uuid NOT NULL,
    extent          smallint NOT NULL,
    gen             smallint NOT NULL,
    backend_version text,
    size            bigint NOT NULL,
    reason          text NOT NULL,
    uncertain       boolean NOT NULL,
    second_pass     boolean NOT NULL,
    attempts        int NOT NULL,
    last_error      text,
    queued          timestamptz NOT NULL,
    dead            timestamptz NOT NULL DEFAULT now()
);

-- ---------------------------------------------------------------- the change log

CREATE SEQUENCE change_seq AS bigint;

-- A row for each outcome. An operation is looked up in the two newest days.
CREATE TABLE changes (
    n       bigint NOT NULL,
    -- UTC day of the transaction.
    day     date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    at      timestamptz NOT NULL DEFAULT now(),
    -- Rows commit out of order: readers stay below the oldest transaction that still runs.
    xid     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    op      uuid NOT NULL,
    item    int NOT NULL,
    -- s3o_core::outcome_log::Logged::code.
    outcome smallint NOT NULL,
    bucket  int NOT NULL,
    key     text COLLATE "C" NOT NULL,
    version uuid,
    -- The object's row as the change left it, for replay.
    object  jsonb
) PARTITION BY RANGE (day);

-- Catches rows of a day whose partition was not made in time; normally empty.
CREATE TABLE changes_default PARTITION OF changes DEFAULT;

CREATE INDEX changes_by_op ON changes (op, item);
CREATE INDEX changes_by_n ON changes (n);

-- ---------------------------------------------------------------- workers

CREATE TABLE worker_status (
    worker               text NOT NULL,
    instance             text NOT NULL,
    last_success         timestamptz,
    last_failure         timestamptz,
    last_error           text,
    consecutive_failures bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (worker, instance)
);
