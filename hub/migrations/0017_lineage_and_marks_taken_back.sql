-- Lines of descent: each start of a hub begins one, at the feed positions that it found. A database that was put back from a
-- backup does not know what was said of it afterwards; a position says in which line it was reached, and holds only as far
-- as that line is this database's own.

CREATE TABLE lineage (
  id BLOB NOT NULL PRIMARY KEY,
  number BIGINT NOT NULL UNIQUE,
  begun_at BIGINT NOT NULL
);

CREATE TABLE lineage_start (
  building_id BLOB NOT NULL,
  number BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  PRIMARY KEY (building_id, number)
);

-- A mark that is taken back and comes again goes on counting its revisions.

ALTER TABLE attendance_gone ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
UPDATE attendance_gone SET revision = COALESCE(
  (SELECT MAX(c.revision) FROM attendance_change c WHERE c.attendance_id = attendance_gone.attendance_id), 1);

-- And marks that went are a list, for whoever asks what has changed.

ALTER TABLE attendance_gone RENAME COLUMN attendance_id TO id;
CREATE INDEX attendance_gone_at ON attendance_gone (gone_at, id);
