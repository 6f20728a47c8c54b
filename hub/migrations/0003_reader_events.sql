-- What happened to a reader itself: opened, switched on, spoken to in a way that it should not be.

CREATE TABLE reader_event (
  id BLOB PRIMARY KEY,
  gateway_id BLOB NOT NULL,
  reader_id BLOB NOT NULL,
  kind TEXT NOT NULL,
  at BIGINT NOT NULL,
  earliest_at BIGINT NOT NULL,
  latest_at BIGINT NOT NULL,
  detail TEXT,
  received_at BIGINT NOT NULL
);
CREATE INDEX reader_event_reader ON reader_event (reader_id, at);
