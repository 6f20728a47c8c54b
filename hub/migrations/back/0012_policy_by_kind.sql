-- That of one kind alone would be taken for that of all.
ALTER TABLE policy RENAME TO policy_by_kind;
CREATE TABLE policy (
  id BLOB PRIMARY KEY,
  from_at BIGINT NOT NULL UNIQUE,
  opens_before_ms BIGINT NOT NULL,
  closes_after_ms BIGINT NOT NULL,
  overlap TEXT NOT NULL,
  outage_tolerance_ms BIGINT NOT NULL,
  settle_limit_ms BIGINT NOT NULL
);
INSERT INTO policy (id, from_at, opens_before_ms, closes_after_ms, overlap, outage_tolerance_ms, settle_limit_ms)
  SELECT id, from_at, opens_before_ms, closes_after_ms, overlap, outage_tolerance_ms, settle_limit_ms FROM policy_by_kind
  WHERE kind IS NULL;
DROP TABLE policy_by_kind;
