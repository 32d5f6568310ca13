-- What bytes are checked against when they are read, and the scrubber's place on each backend (docs/adr/0016).
-- An older release beside this one leaves the columns NULL: such copies get their digest from the scrubber.

-- ---------------------------------------------------------------- digests

-- s3o_types::Digest of an extent's bytes, the same for all of its copies: 8 bytes are a CRC-64/NVME, 32 a SHA-256.
ALTER TABLE copies ADD COLUMN digest bytea;
ALTER TABLE upload_parts ADD COLUMN digest bytea;

-- ---------------------------------------------------------------- versions to be read

-- Those of which a reader got wrong bytes, or whose copies were attached without being read.
ALTER TABLE replication_queue DROP CONSTRAINT replication_queue_task_check;
ALTER TABLE replication_queue ADD CONSTRAINT replication_queue_task_check CHECK (task IN ('add', 'trim', 'verify'));
-- To be verified as soon as the task under way is done.
ALTER TABLE replication_queue ADD COLUMN verify boolean NOT NULL DEFAULT false;

-- ---------------------------------------------------------------- all others, in turn

CREATE TABLE scrub_cursors (
    backend       int PRIMARY KEY,
    -- The last copy that was read.
    after_version uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    after_extent  smallint NOT NULL DEFAULT -1,
    -- Bytes that may be read now; a large blob may leave it below zero.
    allowance     bigint NOT NULL DEFAULT 0,
    refilled      timestamptz NOT NULL DEFAULT now(),
    -- Of the pass under way, and when the last one was done.
    copies        bigint NOT NULL DEFAULT 0,
    pass_started  timestamptz NOT NULL DEFAULT now(),
    pass_ended    timestamptz,
    claimed_by    uuid,
    claimed_until timestamptz
);

-- ---------------------------------------------------------------- runs

-- Of some work one run goes on at a time, whichever replica's it is. A claim ends with its owner's session.
CREATE TABLE run_claims (
    name          text PRIMARY KEY,
    claimed_by    uuid NOT NULL,
    claimed_until timestamptz NOT NULL
);
