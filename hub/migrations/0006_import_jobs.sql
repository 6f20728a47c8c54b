-- Files that came over HTTP or wait to be fetched, in pieces, until an import has taken effect or their time is over.

CREATE TABLE upload (
  id BLOB PRIMARY KEY,
  name TEXT NOT NULL,
  size BIGINT NOT NULL,
  complete BIGINT NOT NULL,
  exported BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE TABLE upload_piece (
  upload_id BLOB NOT NULL,
  number BIGINT NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (upload_id, number)
);

-- Imports that were asked for over the API. Whichever hub holds the lease works on one.
CREATE TABLE import_job (
  id BLOB PRIMARY KEY,
  state TEXT NOT NULL,
  kind TEXT NOT NULL,
  source TEXT NOT NULL,
  recipe TEXT NOT NULL,
  uploads TEXT NOT NULL,
  dry_run BIGINT NOT NULL,
  accept_removals BIGINT NOT NULL,
  token_id BLOB NOT NULL,
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  finished_at BIGINT,
  holder BLOB,
  leased_until BIGINT,
  attempts BIGINT NOT NULL,
  report TEXT
);
CREATE INDEX import_job_state ON import_job (state);
CREATE INDEX import_job_created ON import_job (created_at, id);
