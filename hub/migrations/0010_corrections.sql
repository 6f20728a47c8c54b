-- Corrections of many marks at once: one person proposes them, another decides.

CREATE TABLE correction_proposal (
  id BLOB PRIMARY KEY,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  corrections TEXT NOT NULL,
  proposed_token BLOB NOT NULL,
  proposed_by TEXT NOT NULL,
  proposed_at BIGINT NOT NULL,
  decided_token BLOB,
  decided_by TEXT,
  decided_at BIGINT,
  note TEXT
);
CREATE INDEX correction_proposal_state ON correction_proposal (state, proposed_at);
