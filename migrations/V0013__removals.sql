-- When a stored file of the journal was last seen to be whole.
ALTER TABLE journal_files ADD COLUMN checked timestamptz NOT NULL DEFAULT now();

-- Backends that are given up (docs/operations.md, "Taking a backend out"). An older release goes on draining them.

-- What becomes of the bytes there: 'forget', 'purge'; NULL: it is not given up. Only while it is drained.
ALTER TABLE backends ADD COLUMN removal text CHECK (removal IN ('forget', 'purge'));
-- Whether versions may go of which no other backend has a good copy.
ALTER TABLE backends ADD COLUMN removal_accepts_losses boolean NOT NULL DEFAULT false;
