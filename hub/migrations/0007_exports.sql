-- Exports that were asked for: a query's whole list, written to a file. Whichever hub holds the lease works on one.

CREATE TABLE export_job (
  id BLOB PRIMARY KEY,
  state TEXT NOT NULL,
  format TEXT NOT NULL,
  query TEXT NOT NULL,
  variables TEXT NOT NULL,
  token_id BLOB NOT NULL,
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  finished_at BIGINT,
  snapshot_at BIGINT,
  objects BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  file_id BLOB,
  failure TEXT,
  holder BLOB,
  leased_until BIGINT,
  attempts BIGINT NOT NULL
);
CREATE INDEX export_job_state ON export_job (state);
