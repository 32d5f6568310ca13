-- Buckets that clients make, and CORS rules that they set (docs/adr/0012). An older release beside this one serves the
-- buckets, but neither the rules that are stored here nor the right to make buckets: what it does not know, it refuses.

ALTER TABLE buckets
    -- The access key that made it; NULL: it was declared in YAML.
    ADD COLUMN owner      text COLLATE "C",
    -- The operation that made it, and the one that deleted it: their repeats find them here.
    ADD COLUMN made_by    uuid,
    ADD COLUMN deleted_by uuid,
    -- CORS rules set by PutBucketCors. They count where YAML, whose are in `cors`, has none.
    ADD COLUMN stored_cors jsonb;

-- Whether it may make buckets of its own.
ALTER TABLE credentials ADD COLUMN create_buckets boolean NOT NULL DEFAULT false;
