-- Versioned buckets: rows of `object_versions` are written from now on (docs/adr/0014).

-- ---------------------------------------------------------------- buckets

ALTER TABLE buckets ADD COLUMN versioning text NOT NULL DEFAULT 'off'
    CHECK (versioning IN ('off', 'enabled', 'suspended'));
-- Whether YAML says it: then clients may not change it.
ALTER TABLE buckets ADD COLUMN versioning_declared boolean NOT NULL DEFAULT false;

-- A bucket that was ever versioned is `versioned` in the place of `active`. An older release beside this one cannot read
-- the word, and so refuses whatever would write to the bucket: it would delete what an overwrite displaces.
ALTER TABLE buckets DROP CONSTRAINT buckets_state_check;
ALTER TABLE buckets ADD CONSTRAINT buckets_state_check
    CHECK (state IN ('active', 'versioned', 'deleting', 'gone'));
ALTER TABLE buckets ADD CONSTRAINT buckets_versioned_check CHECK (versioning = 'off' OR state <> 'active');

-- ---------------------------------------------------------------- versions

-- A key's versions are read from the newest on; a version is found by its id; a key has one null row at most, beside the
-- one that may be its current version.
ALTER TABLE object_versions DROP CONSTRAINT object_versions_pkey;
ALTER TABLE object_versions ADD PRIMARY KEY (version);
CREATE UNIQUE INDEX object_versions_order ON object_versions (bucket, key, seq DESC);
CREATE UNIQUE INDEX object_versions_null ON object_versions (bucket, key) WHERE is_null;

-- ---------------------------------------------------------------- what clients were told

-- Whether the version is its key's null version; NULL where the bucket had never been versioned, so that clients are
-- told of none.
ALTER TABLE changes ADD COLUMN is_null boolean;
ALTER TABLE uploads ADD COLUMN is_null boolean;
