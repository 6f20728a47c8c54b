-- What a session was before each change, and a stay in a group before it changed or was taken back: who moved a lecture, when,
-- and where it was until then. Rooms and groups are ids with spaces between, since nothing is
-- ever looked for in them.

CREATE TABLE session_change (
  id BLOB PRIMARY KEY,
  session_id BLOB NOT NULL,
  at BIGINT NOT NULL,
  by_token BLOB,
  source TEXT,
  revision BIGINT NOT NULL,
  kind TEXT NOT NULL,
  title TEXT NOT NULL,
  course_id BLOB,
  starts_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  cancelled BIGINT NOT NULL,
  room_ids TEXT NOT NULL,
  group_ids TEXT NOT NULL
);
CREATE INDEX session_change_session ON session_change (session_id, id);

CREATE TABLE membership_change (
  id BLOB PRIMARY KEY,
  membership_id BLOB NOT NULL,
  group_id BLOB NOT NULL,
  student_id BLOB NOT NULL,
  at BIGINT NOT NULL,
  by_token BLOB,
  source TEXT,
  removed BIGINT NOT NULL,
  from_on TEXT NOT NULL,
  until_on TEXT,
  from_at BIGINT NOT NULL,
  until_at BIGINT,
  reason TEXT NOT NULL
);
CREATE INDEX membership_change_student ON membership_change (student_id, id);
