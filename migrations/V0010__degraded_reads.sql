-- What readers of a bucket get while the database cannot be asked. Data planes of an older release have no such reads.
ALTER TABLE buckets ADD COLUMN degraded_reads text NOT NULL DEFAULT 'allowed'
    CHECK (degraded_reads IN ('allowed', 'cache', 'refused'));
