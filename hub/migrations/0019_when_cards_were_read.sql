-- When the card of a swipe was read that its reader had kept and handed in later, in milliseconds since the start of the
-- gateway's machine, and how far that may be off: where the reader's own clock says so. Then the same ties that date what came
-- at once date it too.

ALTER TABLE swipe ADD COLUMN read_since_boot BIGINT;
ALTER TABLE swipe ADD COLUMN read_error BIGINT;
