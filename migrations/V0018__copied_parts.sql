-- What parts were copied of without all of it being read, so that a Complete can compare it (docs/adr/0016). A part that an older
-- release beside this one stores is compared with nothing.

-- An array of s3o_types::CopiedPiece, each with the attempt (gen) that it is of; NULL: it was sent, or all that it was copied from was read and compared.
ALTER TABLE upload_parts ADD COLUMN copied jsonb;
