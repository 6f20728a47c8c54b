-- Whether the next import of a calendar that is fetched may take away more than a tenth: somebody has seen that it is meant.

ALTER TABLE calendar_source ADD COLUMN accept_removals BIGINT NOT NULL DEFAULT 0;
