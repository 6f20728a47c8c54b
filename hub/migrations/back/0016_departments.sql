-- That of a department alone would be taken for the institution's.
DELETE FROM policy WHERE department IS NOT NULL;
DROP INDEX policy_scope;
CREATE UNIQUE INDEX policy_scope ON policy (COALESCE(kind, ''), from_at);
ALTER TABLE policy DROP COLUMN department;
ALTER TABLE session DROP COLUMN department;
ALTER TABLE course DROP COLUMN department;
