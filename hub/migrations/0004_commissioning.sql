-- What an installer saw and heard at each door, as reported from beside it.

CREATE TABLE commissioning (
  id BLOB PRIMARY KEY,
  gateway_id BLOB NOT NULL,
  reader_code TEXT NOT NULL,
  installer TEXT NOT NULL,
  at BIGINT NOT NULL,
  passed BIGINT NOT NULL,
  firmware TEXT,
  steps TEXT NOT NULL,
  received_at BIGINT NOT NULL
);
-- Those that last are looked for at each heartbeat.
CREATE INDEX outage_until ON outage (gateway_id, until_at);
CREATE INDEX commissioning_reader ON commissioning (gateway_id, reader_code, at);
