-- Calendars that the hub fetches by itself, and imports when they are others.

CREATE TABLE calendar_source (
  id BLOB PRIMARY KEY,
  url TEXT NOT NULL,
  source TEXT NOT NULL,
  recipe TEXT NOT NULL,
  every_ms BIGINT NOT NULL,
  enabled BIGINT NOT NULL,
  token_id BLOB NOT NULL,
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  next_at BIGINT NOT NULL,
  fetched_at BIGINT,
  etag TEXT,
  last_modified TEXT,
  digest TEXT,
  import_id BLOB,
  failing_since BIGINT,
  last_error TEXT
);
