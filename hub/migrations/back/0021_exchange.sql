ALTER TABLE gateway DROP COLUMN exchange;
