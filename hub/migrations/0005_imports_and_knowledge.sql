-- What each import source named last, so that what it names no more can go.

CREATE TABLE import_item (
  source TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (source, kind, name)
);

-- Marks that no fact supports any more, as they last were, so that what was known before can still be told.
CREATE TABLE attendance_gone (
  attendance_id BLOB PRIMARY KEY,
  session_id BLOB NOT NULL,
  student_id BLOB NOT NULL,
  status TEXT NOT NULL,
  source TEXT NOT NULL,
  gone_at BIGINT NOT NULL
);
CREATE INDEX attendance_gone_session ON attendance_gone (session_id);
