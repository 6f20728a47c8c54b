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
