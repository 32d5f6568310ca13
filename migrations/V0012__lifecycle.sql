-- Expiry by rules (docs/adr/0019). An older release beside this one serves the buckets, but answers that no rules are set,
-- and expires nothing.

ALTER TABLE buckets
    -- [s3o_types::LifecycleRule], as YAML has them; NULL for none.
    ADD COLUMN lifecycle jsonb,
    -- Those that PutBucketLifecycleConfiguration has set. They count where YAML has none.
    ADD COLUMN stored_lifecycle jsonb;

-- A bucket that is being gone through: how far, and by whom. No row: nobody goes through it.
CREATE TABLE lifecycle_passes (
    bucket        int PRIMARY KEY,
    phase         text NOT NULL DEFAULT 'objects' CHECK (phase IN ('objects', 'versions', 'uploads')),
    -- What was looked at last: the key, and of a key's versions or uploads which.
    after_key     text COLLATE "C" NOT NULL DEFAULT '',
    after_seq     bigint,
    after_upload  uuid,
    claimed_by    uuid NOT NULL,
    claimed_until timestamptz NOT NULL
);
