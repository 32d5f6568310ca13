-- Multipart uploads, and versions of several extents: each part is a blob of its own (docs/adr/0009).
-- An older release beside this one neither sees an upload nor can read an object made by one; it says so. One that
-- displaces such an object counts `backend_usage.objects` wrong by one for each backend that held its beginning.

-- ---------------------------------------------------------------- versions of several extents

-- How many parts an object was uploaded in, each an extent; NULL for one that came whole. It counts only where
-- `parts_of` is the row's version: an older release that overwrites the object leaves both as they were.
ALTER TABLE objects ADD COLUMN parts int;
ALTER TABLE objects ADD COLUMN parts_of uuid;
ALTER TABLE object_versions ADD COLUMN parts int;

-- Where an extent's bytes stand in the object; NULL: the blob is the whole object. Extents stand in the order of their
-- numbers, so that the primary key finds those of a range.
ALTER TABLE copies ADD COLUMN extent_offset bigint;
ALTER TABLE copies ADD COLUMN extent_size bigint;

-- Versions of many extents wait in the cleanup queue as one row each, of the kind `version`: their `storage_key` is what
-- the keys of their blobs begin with, and their backend 0.
CREATE INDEX cleanup_queue_versions ON cleanup_queue (not_before, id) WHERE kind = 'version';

-- ---------------------------------------------------------------- uploads

CREATE TABLE uploads (
    -- The operation id of the call that opened it: a repeat finds it here.
    id                 uuid PRIMARY KEY,
    bucket             int NOT NULL,
    key                text COLLATE "C" NOT NULL,
    -- Of the object to be.
    version            uuid NOT NULL,
    state              text NOT NULL CHECK (state IN ('open', 'completed', 'aborted')),
    -- s3o_types::ObjectAttributes, tags included; NULL when empty.
    attributes         jsonb,
    -- 'crc32', … and 'COMPOSITE' or 'FULL_OBJECT'; NULL: no checksum was asked for.
    checksum_algorithm text,
    checksum_type      text,
    initiated          timestamptz NOT NULL,
    -- The access key that opened it.
    initiator          text NOT NULL,
    -- When it was completed or aborted, by the transaction's time.
    closed             timestamptz,
    -- The outcome of the Complete, for its repeats.
    etag               text,
    checksums          jsonb,
    seq                bigint
);
CREATE UNIQUE INDEX uploads_by_version ON uploads (version);
CREATE INDEX uploads_open ON uploads (bucket, key, id) WHERE state = 'open';
CREATE INDEX uploads_stale ON uploads (initiated) WHERE state = 'open';
CREATE INDEX uploads_closed ON uploads (closed) WHERE state <> 'open';

-- The stored parts of open uploads. Written under the key's lock only.
CREATE TABLE upload_parts (
    upload          uuid NOT NULL,
    part            smallint NOT NULL CHECK (part BETWEEN 1 AND 10000),
    gen             smallint NOT NULL,
    backend         int NOT NULL,
    size            bigint NOT NULL,
    etag            text NOT NULL,
    checksums       jsonb,
    backend_etag    text,
    backend_version text,
    modified        timestamptz NOT NULL,
    PRIMARY KEY (upload, part)
);

-- How often a part was begun: the next attempt's `gen`. Written under slot 0 of the usage only, and kept
-- until the upload is forgotten, so that no storage key is ever written twice.
CREATE TABLE part_attempts (
    upload   uuid NOT NULL,
    part     smallint NOT NULL,
    attempts smallint NOT NULL,
    PRIMARY KEY (upload, part)
);

-- ---------------------------------------------------------------- writes under way

ALTER TABLE intents ADD COLUMN upload uuid;
ALTER TABLE intents DROP CONSTRAINT intents_kind_check;
ALTER TABLE intents ADD CONSTRAINT intents_kind_check CHECK (kind IN ('put', 'copy', 'part'));
