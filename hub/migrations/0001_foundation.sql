-- The foundation: estate, people, timetable, swipes, registers, feed, access.
-- Ids are UUIDs (16 bytes), instants are milliseconds since 1970-01-01T00:00:00Z, dates are YYYY-MM-DD.
-- Kept to what distributed PostgreSQL engines take: client-made ids, no triggers, no sequences.

CREATE TABLE setting (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);

CREATE TABLE access_token (
  id BLOB PRIMARY KEY,
  name TEXT NOT NULL,
  hash BLOB NOT NULL UNIQUE,
  roles TEXT NOT NULL,
  gateway_id BLOB,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  revoked_at BIGINT
);

CREATE TABLE building (
  id BLOB PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  key_epoch BIGINT NOT NULL,
  key_secret BLOB NOT NULL,
  feed_revision BIGINT NOT NULL
);

CREATE TABLE room (
  id BLOB PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  building_id BLOB NOT NULL,
  capacity BIGINT
);
CREATE INDEX room_building ON room (building_id, code);

CREATE TABLE gateway (
  id BLOB PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  building_id BLOB NOT NULL,
  enrolled_at BIGINT,
  software_version TEXT,
  watermark BIGINT,
  reported_at BIGINT,
  received_at BIGINT,
  report TEXT
);
CREATE INDEX gateway_building ON gateway (building_id, code);

CREATE TABLE reader (
  id BLOB PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  gateway_id BLOB NOT NULL,
  room_id BLOB,
  kind TEXT NOT NULL,
  enabled BIGINT NOT NULL,
  online BIGINT,
  light TEXT,
  firmware TEXT,
  last_seen_at BIGINT,
  last_swipe_at BIGINT
);
CREATE INDEX reader_room ON reader (room_id, code);
CREATE INDEX reader_gateway ON reader (gateway_id, code);

CREATE TABLE student (
  id BLOB PRIMARY KEY,
  number TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  email TEXT,
  state TEXT NOT NULL,
  at_door BIGINT NOT NULL
);
CREATE INDEX student_name ON student (name, id);
CREATE INDEX student_at_door ON student (at_door);

CREATE TABLE card (
  id BLOB PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  student_id BLOB NOT NULL,
  from_at BIGINT NOT NULL,
  until_at BIGINT
);
CREATE INDEX card_student ON card (student_id);

CREATE TABLE credential (
  card_id BLOB NOT NULL,
  bits BIGINT NOT NULL,
  raw BLOB NOT NULL,
  PRIMARY KEY (card_id, bits, raw)
);
CREATE INDEX credential_raw ON credential (raw, bits);

CREATE TABLE card_key (
  building_id BLOB NOT NULL,
  card_key BLOB NOT NULL,
  epoch BIGINT NOT NULL,
  card_id BLOB NOT NULL,
  PRIMARY KEY (building_id, card_key, card_id)
);
CREATE INDEX card_key_card ON card_key (card_id);

CREATE TABLE holder (
  building_id BLOB NOT NULL,
  holder BLOB NOT NULL,
  student_id BLOB NOT NULL,
  PRIMARY KEY (building_id, holder)
);

CREATE TABLE course (
  id BLOB PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL
);

CREATE TABLE class_group (
  id BLOB PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  title TEXT,
  course_id BLOB NOT NULL,
  kind TEXT NOT NULL
);
CREATE INDEX class_group_course ON class_group (course_id, code);

CREATE TABLE membership (
  id BLOB PRIMARY KEY,
  group_id BLOB NOT NULL,
  student_id BLOB NOT NULL,
  from_on TEXT NOT NULL,
  until_on TEXT,
  from_at BIGINT NOT NULL,
  until_at BIGINT,
  reason TEXT NOT NULL,
  UNIQUE (group_id, student_id, from_on)
);
CREATE INDEX membership_student ON membership (student_id, group_id);

CREATE TABLE policy (
  id BLOB PRIMARY KEY,
  from_at BIGINT NOT NULL UNIQUE,
  opens_before_ms BIGINT NOT NULL,
  closes_after_ms BIGINT NOT NULL,
  overlap TEXT NOT NULL,
  outage_tolerance_ms BIGINT NOT NULL,
  settle_limit_ms BIGINT NOT NULL
);

CREATE TABLE session (
  id BLOB PRIMARY KEY,
  external_id TEXT UNIQUE,
  kind TEXT NOT NULL,
  title TEXT NOT NULL,
  course_id BLOB,
  starts_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  cancelled BIGINT NOT NULL,
  moved BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  register_id BLOB NOT NULL UNIQUE,
  register_state TEXT NOT NULL,
  register_revision BIGINT NOT NULL,
  closes_at BIGINT NOT NULL,
  final_at BIGINT
);
CREATE INDEX session_start ON session (starts_at, id);
CREATE INDEX session_pending ON session (register_state, closes_at);
CREATE INDEX session_course ON session (course_id, starts_at);

CREATE TABLE session_room (
  session_id BLOB NOT NULL,
  room_id BLOB NOT NULL,
  from_at BIGINT,
  until_at BIGINT
);
CREATE INDEX session_room_session ON session_room (session_id);
CREATE INDEX session_room_room ON session_room (room_id, session_id);

CREATE TABLE session_group (
  session_id BLOB NOT NULL,
  group_id BLOB NOT NULL,
  PRIMARY KEY (session_id, group_id)
);
CREATE INDEX session_group_group ON session_group (group_id, session_id);

CREATE TABLE swipe (
  id BLOB PRIMARY KEY,
  claimed_id BLOB NOT NULL,
  gateway_id BLOB NOT NULL,
  journal_id BLOB NOT NULL,
  sequence BIGINT NOT NULL,
  reader_id BLOB NOT NULL,
  room_id BLOB,
  building_id BLOB NOT NULL,
  card_key BLOB,
  card_bits BIGINT NOT NULL,
  card_id BLOB,
  student_id BLOB,
  shown_student_id BLOB,
  swiped_at BIGINT NOT NULL,
  earliest_at BIGINT NOT NULL,
  latest_at BIGINT NOT NULL,
  received_at BIGINT NOT NULL,
  clock_trust TEXT NOT NULL,
  decision TEXT NOT NULL,
  reason TEXT NOT NULL,
  decided_at BIGINT NOT NULL,
  shown TEXT NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX swipe_claimed ON swipe (claimed_id);
CREATE INDEX swipe_time ON swipe (swiped_at, id);
CREATE INDEX swipe_room ON swipe (room_id, swiped_at);
CREATE INDEX swipe_student ON swipe (student_id, swiped_at);
CREATE INDEX swipe_shown_student ON swipe (shown_student_id, swiped_at);
CREATE INDEX swipe_card_key ON swipe (building_id, card_key);
CREATE INDEX swipe_reader ON swipe (reader_id, swiped_at);
CREATE INDEX swipe_journal ON swipe (journal_id, sequence);

CREATE TABLE swipe_revision (
  swipe_id BLOB NOT NULL,
  revision BIGINT NOT NULL,
  decision TEXT NOT NULL,
  reason TEXT NOT NULL,
  decided_at BIGINT NOT NULL,
  sessions TEXT NOT NULL,
  PRIMARY KEY (swipe_id, revision)
);

CREATE TABLE credit (
  session_id BLOB NOT NULL,
  student_id BLOB NOT NULL,
  swipe_id BLOB NOT NULL,
  honoured BIGINT NOT NULL,
  PRIMARY KEY (session_id, student_id, swipe_id)
);
CREATE INDEX credit_swipe ON credit (swipe_id);

CREATE TABLE alarm (
  id BLOB PRIMARY KEY,
  at BIGINT NOT NULL,
  kind TEXT NOT NULL,
  gateway_id BLOB,
  detail TEXT NOT NULL
);

CREATE TABLE attendance (
  id BLOB PRIMARY KEY,
  session_id BLOB NOT NULL,
  student_id BLOB NOT NULL,
  status TEXT NOT NULL,
  source TEXT NOT NULL,
  arrived_at BIGINT,
  minutes_late BIGINT,
  shared_swipe BIGINT NOT NULL,
  honoured BIGINT NOT NULL,
  revision BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  UNIQUE (session_id, student_id)
);
CREATE INDEX attendance_student ON attendance (student_id, session_id);
CREATE INDEX attendance_updated ON attendance (updated_at, id);

CREATE TABLE attendance_change (
  attendance_id BLOB NOT NULL,
  revision BIGINT NOT NULL,
  at BIGINT NOT NULL,
  by_token BLOB,
  from_status TEXT,
  to_status TEXT NOT NULL,
  source TEXT NOT NULL,
  reason TEXT,
  PRIMARY KEY (attendance_id, revision)
);

CREATE TABLE manual_mark (
  session_id BLOB NOT NULL,
  student_id BLOB NOT NULL,
  status TEXT NOT NULL,
  arrived_at BIGINT,
  reason TEXT NOT NULL,
  decided_at BIGINT NOT NULL,
  decided_by BLOB,
  PRIMARY KEY (session_id, student_id)
);

CREATE TABLE feed_item (
  building_id BLOB NOT NULL,
  item_kind TEXT NOT NULL,
  item_id BLOB NOT NULL,
  revision BIGINT NOT NULL,
  removed BIGINT NOT NULL,
  at BIGINT NOT NULL,
  payload TEXT NOT NULL,
  PRIMARY KEY (building_id, item_kind, item_id)
);
CREATE UNIQUE INDEX feed_item_revision ON feed_item (building_id, revision);
CREATE INDEX feed_item_item ON feed_item (item_kind, item_id);
