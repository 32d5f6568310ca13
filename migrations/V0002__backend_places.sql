-- Where a backend is: an edit of its endpoint or bucket is another place, and a blob counts only at the one
-- that its intent named. An older release beside this one leaves both columns alone: what it writes reads as
-- the first place.

ALTER TABLE backends ADD COLUMN place int NOT NULL DEFAULT 1 CHECK (place >= 1);

-- Parallel to target_backend; may be shorter: what is missing at its end is 1.
ALTER TABLE intents ADD COLUMN target_place int[] NOT NULL DEFAULT '{}';
