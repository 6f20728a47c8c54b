-- What a mark was before each change, and as it last was when it was taken back, whole: then `attendance(asKnownAt:)` says
-- not only the status that was known at an instant, but who had set it, and when the student was known to have come.

ALTER TABLE attendance_change ADD COLUMN from_source TEXT;
ALTER TABLE attendance_change ADD COLUMN from_arrived_at BIGINT;
ALTER TABLE attendance_change ADD COLUMN from_minutes_late BIGINT;
ALTER TABLE attendance_change ADD COLUMN from_shared_swipe BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attendance_change ADD COLUMN from_honoured BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attendance_change ADD COLUMN from_updated_at BIGINT;

-- Of earlier changes: what the change before it said had set it. What had set a mark at its making was not noted, and follows
-- from its status as a rule; when the student was known to have come is not known any more.
UPDATE attendance_change SET
  from_source = COALESCE(
    (SELECT p.source FROM attendance_change p
      WHERE p.attendance_id = attendance_change.attendance_id AND p.revision = attendance_change.revision - 1),
    CASE WHEN from_status = 'PRESENT' THEN 'READER'
      WHEN from_status IN ('AUTHORISED_ABSENCE', 'NOT_REQUIRED') THEN 'MANUAL' ELSE 'RULE' END),
  from_updated_at = COALESCE(
    (SELECT p.at FROM attendance_change p
      WHERE p.attendance_id = attendance_change.attendance_id AND p.revision = attendance_change.revision - 1),
    at);

ALTER TABLE attendance_gone ADD COLUMN arrived_at BIGINT;
ALTER TABLE attendance_gone ADD COLUMN minutes_late BIGINT;
ALTER TABLE attendance_gone ADD COLUMN shared_swipe BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attendance_gone ADD COLUMN honoured BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attendance_gone ADD COLUMN updated_at BIGINT;
UPDATE attendance_gone SET updated_at = COALESCE(
  (SELECT MAX(c.at) FROM attendance_change c WHERE c.attendance_id = attendance_gone.id), gone_at);
