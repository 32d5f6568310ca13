-- What the recovery mode leaves a gap behind, and when deletions may begin (docs/adr/0018).

-- As before, and: what has no record gets its place in the gap, so it is noted where that begins.
CREATE OR REPLACE FUNCTION enter_recovery(why text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    noted jsonb;
BEGIN
    IF EXISTS (SELECT FROM settings WHERE name = 'recovery') THEN
        RETURN;
    END IF;
    noted := jsonb_build_object('why', why, 'since', now(),
        'change_seq', (SELECT last_value FROM change_seq), 'version_seq', (SELECT last_value FROM version_seq));
    PERFORM leave_gap(0, 0);
    -- Buckets that clients made meanwhile would be taken for those that were lost.
    PERFORM setval(pg_get_serial_sequence('buckets', 'id'), (SELECT last_value FROM buckets_id_seq) + 10000);
    -- Data planes take a configuration only when it is newer than what they have.
    UPDATE settings SET value = to_jsonb(value::bigint + 1048576) WHERE name = 'generation';
    INSERT INTO settings (name, value) VALUES ('recovery', noted) ON CONFLICT DO NOTHING;
END $$;

-- As before, and: a database that is restored again while the mode is on leaves a gap again.
CREATE OR REPLACE FUNCTION note_database() RETURNS void LANGUAGE plpgsql AS $$
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
        IF EXISTS (SELECT FROM settings WHERE name = 'recovery') THEN
            PERFORM leave_gap(0, 0);
            UPDATE settings SET value = to_jsonb(value::bigint + 1048576) WHERE name = 'generation';
        END IF;
        PERFORM enter_recovery('the database is not the one it was: ' || known::text || ' before, ' || here::text || ' now');
        IF known ->> 'system' <> here ->> 'system' THEN
            -- Its transactions are counted anew, and those of the log would be of the future: a snapshot has what they did.
            UPDATE journal SET xid = pg_current_xact_id(), n = 0, snapshot = NULL, complete = NULL;
        END IF;
    END IF;
    INSERT INTO settings (name, value) VALUES ('database', here)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value;
END $$;

-- A database that is put back by a copy of its files has the timeline that it had, and only the journal tells. So nothing is
-- deleted from a start of the server on until somebody has looked there: `settings` has the start after which it was done.
CREATE FUNCTION server_start() RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT to_jsonb(extract(epoch FROM pg_postmaster_start_time()))
$$;
INSERT INTO settings (name, value) VALUES ('journal_looked_at', server_start());

-- Whether anything may be deleted for good.
CREATE FUNCTION may_delete() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT NOT EXISTS (SELECT FROM settings WHERE name = 'recovery')
       AND EXISTS (SELECT FROM settings WHERE name = 'journal_looked_at' AND value = server_start())
$$;

-- Whose staging it is. Without a log as what is staged: a server that was started anew has neither.
CREATE UNLOGGED TABLE restore_run (id uuid NOT NULL);

-- Up to which version what bears a gone bucket's name is its own; NULL: nobody knows, and what bears it is left alone.
ALTER TABLE buckets ADD COLUMN gone_after bigint;
