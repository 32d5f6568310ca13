-- The journal: the change log and snapshots of the objects, as files on the backends themselves (docs/adr/0018). An older
-- release beside this one ships nothing and takes no notice.

-- Changes commit out of order: their reader goes by transaction.
CREATE INDEX changes_by_xid ON changes (xid, n);

-- How far the journal is. One row.
CREATE TABLE journal (
    one             boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- The newest change that a segment has, and the number of the next segment.
    xid             xid8 NOT NULL DEFAULT '0',
    n               bigint NOT NULL DEFAULT 0,
    segment         bigint NOT NULL DEFAULT 1,
    -- The snapshot that is being written: its number, the files that it has so far, and the last row in them.
    snapshot        bigint,
    snapshot_files  text[] NOT NULL DEFAULT '{}',
    snapshot_bucket int NOT NULL DEFAULT 0,
    snapshot_key    text COLLATE "C" NOT NULL DEFAULT '',
    snapshot_seq    bigint NOT NULL DEFAULT 0,
    snapshot_read   boolean NOT NULL DEFAULT false,
    -- Below which all transactions must have ended before it is complete: what they wrote may not be among its rows.
    snapshot_upto   xid8,
    -- Blobs of lower versions, that no segment names, were given up or deleted. It only rises.
    open            uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- The last two that are complete, and when the newer one was.
    complete        bigint,
    complete_before bigint,
    completed       timestamptz,
    claimed_by      uuid,
    claimed_until   timestamptz
);
INSERT INTO journal DEFAULT VALUES;

-- What is stored of it, or may be: the row is there before the file. Its bytes count as used.
CREATE TABLE journal_files (
    backend     int NOT NULL,
    storage_key text COLLATE "C" NOT NULL,
    number      bigint NOT NULL,
    bytes       bigint NOT NULL,
    -- Whether its PUT was verified.
    stored      boolean NOT NULL DEFAULT false,
    noted       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (backend, storage_key)
);

-- Which database this is: another timeline is one that may lack the last commits, another system was made from a dump.
-- Called by each connection before it writes anything. Whoever finds another database than was noted leaves a wide gap in
-- the numbers, so that none is given out twice, and turns the recovery mode on.
CREATE FUNCTION note_database() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here  jsonb;
    known jsonb;
BEGIN
    here := jsonb_build_object(
        'system', (SELECT system_identifier::text FROM pg_control_system()),
        'timeline', left(pg_walfile_name(pg_current_wal_lsn()), 8));
    SELECT value INTO known FROM settings WHERE name = 'database';
    IF known = here THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(x'73336F05'::int, 0);
    SELECT value INTO known FROM settings WHERE name = 'database';
    IF known = here THEN
        RETURN;
    END IF;
    IF known IS NOT NULL THEN
        PERFORM enter_recovery('the database is not the one it was: ' || known::text || ' before, ' || here::text || ' now');
        IF known ->> 'system' <> here ->> 'system' THEN
            -- Its transactions are counted anew, and those of the log would be of the future: a snapshot has what they did.
            UPDATE journal SET xid = pg_current_xact_id(), n = 0, snapshot = NULL, complete = NULL;
        END IF;
    END IF;
    INSERT INTO settings (name, value) VALUES ('database', here)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
END $$;

-- Leaves a wide gap behind the numbers that were given out, here and as far as is known of what was lost.
CREATE FUNCTION leave_gap(changes bigint, versions bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF changes = 0 OR changes >= (SELECT last_value FROM change_seq) THEN
        PERFORM setval('change_seq', GREATEST(changes, (SELECT last_value FROM change_seq)) + 4294967296);
    END IF;
    IF versions = 0 OR versions >= (SELECT last_value FROM version_seq) THEN
        PERFORM setval('version_seq', GREATEST(versions, (SELECT last_value FROM version_seq)) + 4294967296);
    END IF;
END $$;

-- Nothing is deleted from now on, until an operator says so. What was lost had numbers, and others may be at work by them.
CREATE FUNCTION enter_recovery(why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM settings WHERE name = 'recovery') THEN
        RETURN;
    END IF;
    PERFORM leave_gap(0, 0);
    -- Buckets that clients made meanwhile would be taken for those that were lost.
    PERFORM setval(pg_get_serial_sequence('buckets', 'id'), (SELECT last_value FROM buckets_id_seq) + 10000);
    -- Data planes take a configuration only when it is newer than what they have.
    UPDATE settings SET value = to_jsonb(value::bigint + 1048576) WHERE name = 'generation';
    INSERT INTO settings (name, value)
    VALUES ('recovery', jsonb_build_object('why', why, 'since', now())) ON CONFLICT DO NOTHING;
END $$;

-- What the journal says and what the backends hold, while a database is made again from them. Empty otherwise.
CREATE UNLOGGED TABLE restore_events (
    ord     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- 'version', 'marker', 'tags', 'gone', 'dead'.
    kind    text NOT NULL,
    bucket  int NOT NULL,
    key     text COLLATE "C" NOT NULL,
    seq     bigint NOT NULL,
    version uuid NOT NULL,
    is_null boolean NOT NULL,
    line    jsonb NOT NULL
);
CREATE INDEX restore_events_key ON restore_events (bucket, key);
CREATE INDEX restore_events_version ON restore_events (version);

CREATE UNLOGGED TABLE restore_blobs (
    backend     int NOT NULL,
    storage_key text COLLATE "C" NOT NULL,
    -- NULL for a key that is none of ours.
    version     uuid,
    extent      smallint,
    gen         smallint,
    size        bigint NOT NULL,
    etag        text,
    -- As the storage key says; NULL where it is hashed.
    bucket_name text,
    key         text COLLATE "C",
    PRIMARY KEY (backend, storage_key)
);
CREATE INDEX restore_blobs_version ON restore_blobs (version, extent);
