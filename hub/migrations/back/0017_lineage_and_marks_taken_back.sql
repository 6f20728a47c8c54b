DROP TABLE lineage;
DROP TABLE lineage_start;
DROP INDEX attendance_gone_at;
ALTER TABLE attendance_gone RENAME COLUMN id TO attendance_id;
ALTER TABLE attendance_gone DROP COLUMN revision;
