-- What each import source named last, so that what it names no more can go.

CREATE TABLE import_item (
  source TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (source, kind, name)
);
