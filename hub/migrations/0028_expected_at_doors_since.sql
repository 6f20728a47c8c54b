-- Since when students are expected at doors, or not: a placement begins on a day, and what was before it stays as it was. Whoever
-- has no row here is as the student's own row says, always.

CREATE TABLE door_expectation (
  id BLOB PRIMARY KEY,
  student_id BLOB NOT NULL,
  from_at BIGINT NOT NULL,
  expected BIGINT NOT NULL
);
CREATE INDEX door_expectation_student ON door_expectation (student_id, from_at);
