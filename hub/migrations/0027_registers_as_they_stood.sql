-- Where a register stood before each change of that: whether it was final when a letter was sent.

CREATE TABLE register_change (
  id BLOB PRIMARY KEY,
  session_id BLOB NOT NULL,
  at BIGINT NOT NULL,
  state TEXT NOT NULL,
  final_at BIGINT
);
CREATE INDEX register_change_session ON register_change (session_id, id);
