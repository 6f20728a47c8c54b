ALTER TABLE calendar_source DROP COLUMN accept_removals;
