-- Policies of one kind of session, before the institution's.

CREATE TABLE policy_by_kind (
  id BLOB PRIMARY KEY,
  from_at BIGINT NOT NULL,
  kind TEXT,
  opens_before_ms BIGINT NOT NULL,
  closes_after_ms BIGINT NOT NULL,
  overlap TEXT NOT NULL,
  outage_tolerance_ms BIGINT NOT NULL,
  settle_limit_ms BIGINT NOT NULL
);
INSERT INTO policy_by_kind (id, from_at, kind, opens_before_ms, closes_after_ms, overlap, outage_tolerance_ms, settle_limit_ms)
  SELECT id, from_at, NULL, opens_before_ms, closes_after_ms, overlap, outage_tolerance_ms, settle_limit_ms FROM policy;
DROP TABLE policy;
ALTER TABLE policy_by_kind RENAME TO policy;
CREATE UNIQUE INDEX policy_scope ON policy (COALESCE(kind, ''), from_at);
