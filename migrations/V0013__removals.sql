-- Backends that are given up (docs/operations.md, "Giving a backend up"), and journal files that are looked at. An older
-- release goes on draining the first; it cannot take such a drain back.

-- What becomes of the bytes there: 'forget', 'purge'; NULL: it is not given up.
ALTER TABLE backends ADD COLUMN removal text CHECK (removal IN ('forget', 'purge'));
-- Versions of which no other backend has a good copy may go up to this number of the change log; NULL: none may.
ALTER TABLE backends ADD COLUMN removal_losses_upto bigint;
ALTER TABLE backends ADD CONSTRAINT removal_of_drained CHECK (removal IS NULL OR state = 'draining');

-- When a stored file was last seen to be whole.
ALTER TABLE journal_files ADD COLUMN checked timestamptz NOT NULL DEFAULT now();
-- It is not there any more, and its row only keeps the key from being written there again.
ALTER TABLE journal_files ADD COLUMN gone boolean NOT NULL DEFAULT false;
-- It was stored once, and is not any more, or is not what was stored.
ALTER TABLE journal_files ADD COLUMN lost boolean NOT NULL DEFAULT false;
