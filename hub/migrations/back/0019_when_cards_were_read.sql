ALTER TABLE swipe DROP COLUMN read_error;
ALTER TABLE swipe DROP COLUMN read_since_boot;
