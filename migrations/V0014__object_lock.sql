-- Object Lock (docs/adr/0021).

-- ---------------------------------------------------------------- buckets

ALTER TABLE buckets
    -- s3o_types::BucketLock; NULL: the bucket has no Object Lock. One that has it has it for good.
    ADD COLUMN object_lock jsonb,
    -- Whether YAML says it: then clients may not change it.
    ADD COLUMN object_lock_declared boolean NOT NULL DEFAULT false;

-- A bucket with Object Lock is `locked` in the place of `versioned`. An older release beside this one cannot read the word,
-- and so refuses whatever would write to the bucket: it would delete what is locked, and lock nothing that is written.
ALTER TABLE buckets DROP CONSTRAINT buckets_state_check;
ALTER TABLE buckets ADD CONSTRAINT buckets_state_check
    CHECK (state IN ('active', 'versioned', 'locked', 'deleting', 'gone'));
ALTER TABLE buckets ADD CONSTRAINT buckets_locked_check CHECK (
    (object_lock IS NULL AND state <> 'locked')
    OR (object_lock IS NOT NULL AND versioning = 'enabled' AND state NOT IN ('active', 'versioned')));

-- ---------------------------------------------------------------- versions

-- `retain_until`, `retain_mode` and `legal_hold` were there from the beginning, and are written from now on. A hold is true
-- while it is on, false where nothing was ever said of one, and NULL where it was taken off: readers are told of that.
ALTER TABLE objects ALTER COLUMN legal_hold DROP NOT NULL;
ALTER TABLE object_versions ALTER COLUMN legal_hold DROP NOT NULL;
