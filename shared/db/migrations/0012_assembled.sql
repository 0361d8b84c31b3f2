-- A ZIP is put together by the store where it can: a member's header holds its CRC-32, and what the store calls
-- an object by says whether it is still the one whose digest was taken. Of rows from before neither is known,
-- and what they speak of is read through.

ALTER TABLE trainyard.candidates
    ADD COLUMN crc32 bigint CHECK (crc32 BETWEEN 0 AND 4294967295),
    ADD COLUMN etag text;
ALTER TABLE trainyard.conversions
    ADD COLUMN crc32 bigint CHECK (crc32 BETWEEN 0 AND 4294967295),
    ADD COLUMN etag text;
ALTER TABLE trainyard.files
    ADD COLUMN crc32 bigint CHECK (crc32 BETWEEN 0 AND 4294967295),
    ADD COLUMN etag text;
ALTER TABLE public.trained_models
    ADD COLUMN crc32 bigint CHECK (crc32 BETWEEN 0 AND 4294967295),
    ADD COLUMN etag text;

COMMENT ON COLUMN trainyard.candidates.etag IS 'what the store called the object by when its digest was taken';
COMMENT ON COLUMN trainyard.bundles.sha256 IS 'NULL where the store put the ZIP together itself';
COMMENT ON COLUMN trainyard.exports.sha256 IS 'NULL where the store put the ZIP together itself';

GRANT INSERT (crc32, etag) ON trainyard.files TO trainyard_user;
