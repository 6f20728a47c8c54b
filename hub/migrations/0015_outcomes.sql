-- What became of transactions whose commit was cut off: an id that is there took effect. Kept for an hour; on a server only.

CREATE TABLE transaction_outcome (
  id BLOB PRIMARY KEY,
  at BIGINT NOT NULL
);
CREATE INDEX transaction_outcome_at ON transaction_outcome (at);
