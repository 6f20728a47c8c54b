-- What keeps the promise: the raw facts of swipes, how far each journal was handed over, when doors could not
-- record, ties between a gateway's own time and ours, and signed ends of journals.

ALTER TABLE swipe ADD COLUMN boot_id BLOB;
ALTER TABLE swipe ADD COLUMN since_boot BIGINT;
ALTER TABLE swipe ADD COLUMN late BIGINT NOT NULL DEFAULT 0;
ALTER TABLE swipe ADD COLUMN holder BLOB;
ALTER TABLE swipe ADD COLUMN record TEXT;
CREATE INDEX swipe_room_latest ON swipe (room_id, latest_at);
CREATE INDEX swipe_boot ON swipe (boot_id, clock_trust);

-- Earlier readings of a swipe's time; revision 1 is what the gateway said.
CREATE TABLE swipe_stamp (
  swipe_id BLOB NOT NULL,
  revision BIGINT NOT NULL,
  swiped_at BIGINT NOT NULL,
  earliest_at BIGINT NOT NULL,
  latest_at BIGINT NOT NULL,
  replaced_at BIGINT NOT NULL,
  PRIMARY KEY (swipe_id, revision)
);

CREATE TABLE anchor (
  boot_id BLOB NOT NULL,
  since_boot BIGINT NOT NULL,
  gateway_id BLOB NOT NULL,
  at BIGINT NOT NULL,
  error_ms BIGINT NOT NULL,
  source TEXT NOT NULL,
  received_at BIGINT NOT NULL,
  PRIMARY KEY (boot_id, since_boot)
);

CREATE TABLE journal (
  journal_id BLOB PRIMARY KEY,
  gateway_id BLOB NOT NULL,
  through BIGINT NOT NULL,
  chain BLOB NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX journal_gateway ON journal (gateway_id);

-- Which reader hung at which door when, in use.
CREATE TABLE reader_stay (
  reader_id BLOB NOT NULL,
  gateway_id BLOB NOT NULL,
  room_id BLOB NOT NULL,
  from_at BIGINT,
  until_at BIGINT
);
CREATE INDEX reader_stay_room ON reader_stay (room_id);
CREATE INDEX reader_stay_reader ON reader_stay (reader_id);
CREATE INDEX reader_stay_gateway ON reader_stay (gateway_id, room_id);
INSERT INTO reader_stay (reader_id, gateway_id, room_id)
  SELECT id, gateway_id, room_id FROM reader WHERE enabled = 1 AND room_id IS NOT NULL;

CREATE TABLE outage (
  id BLOB PRIMARY KEY,
  gateway_id BLOB NOT NULL,
  reader_id BLOB,
  cause TEXT NOT NULL,
  from_at BIGINT NOT NULL,
  until_at BIGINT,
  received_at BIGINT NOT NULL
);
CREATE INDEX outage_gateway ON outage (gateway_id, from_at);

CREATE TABLE gateway_lost (
  gateway_id BLOB NOT NULL,
  from_at BIGINT NOT NULL,
  reason TEXT NOT NULL,
  by_token BLOB,
  at BIGINT NOT NULL,
  PRIMARY KEY (gateway_id, from_at)
);

CREATE TABLE gateway_key (
  gateway_id BLOB NOT NULL,
  public_key BLOB NOT NULL,
  first_seen_at BIGINT NOT NULL,
  PRIMARY KEY (gateway_id, public_key)
);

-- A stretch of a journal and the gateway's signature under its end.
CREATE TABLE signed_head (
  journal_id BLOB NOT NULL,
  first BIGINT NOT NULL,
  through BIGINT NOT NULL,
  chain_before BLOB NOT NULL,
  links BLOB NOT NULL,
  signed_at BIGINT NOT NULL,
  signature BLOB NOT NULL,
  public_key BLOB NOT NULL,
  PRIMARY KEY (journal_id, first)
);

CREATE INDEX alarm_time ON alarm (at, id);
