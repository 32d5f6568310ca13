-- What clients were told of the parts of an object when they uploaded them (docs/adr/0009). A copy that an older release beside
-- this one makes has none: they are known while another copy of its extent has them.

-- s3o_types::Checksums of the part that an extent is, the same for all of its copies. NULL: the object came whole, or in parts
-- without a checksum, or was completed by an older release.
ALTER TABLE copies ADD COLUMN checksums jsonb;
