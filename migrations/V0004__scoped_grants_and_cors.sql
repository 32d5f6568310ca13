-- Grants to the keys under a prefix, or with other rights than `read` and `read_write` of a whole bucket. A table of
-- their own: an older release beside this one does not know them, and so refuses what they would allow.

CREATE TABLE scoped_grants (
    access_key_id text COLLATE "C" NOT NULL,
    bucket        int NOT NULL,
    -- Keys under it; '' for all.
    prefix        text COLLATE "C" NOT NULL,
    -- s3o_types::Rights::bits.
    rights        smallint NOT NULL CHECK (rights > 0),
    PRIMARY KEY (access_key_id, bucket, prefix)
);

-- [s3o_types::CorsRule], in their order; NULL for none.
ALTER TABLE buckets ADD COLUMN cors jsonb;
