-- What a card was before each change, and each policy as it was saved or withdrawn: who ended a card and when, and by which
-- rules registers were made until somebody saved others.

CREATE TABLE card_change (
  id BLOB PRIMARY KEY,
  card_id BLOB NOT NULL,
  student_id BLOB NOT NULL,
  at BIGINT NOT NULL,
  by_token BLOB,
  source TEXT,
  from_at BIGINT NOT NULL,
  until_at BIGINT,
  number_tail TEXT NOT NULL
);
CREATE INDEX card_change_student ON card_change (student_id, id);

CREATE TABLE policy_edit (
  id BLOB PRIMARY KEY,
  at BIGINT NOT NULL,
  by_token BLOB,
  withdrawn BIGINT NOT NULL,
  from_at BIGINT NOT NULL,
  kind TEXT,
  opens_before_ms BIGINT NOT NULL,
  closes_after_ms BIGINT NOT NULL,
  overlap TEXT NOT NULL,
  outage_tolerance_ms BIGINT NOT NULL,
  settle_limit_ms BIGINT NOT NULL,
  department TEXT
);
