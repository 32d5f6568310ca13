-- What a backend may be used for in a month (docs/adr/0022).

ALTER TABLE backends
    -- s3o_types::UsageLimits; NULL: nothing is limited.
    ADD COLUMN usage_limits jsonb;
