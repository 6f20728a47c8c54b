-- Departments, as courses name them: their sessions may have a policy of their own, before the institution's.

ALTER TABLE course ADD COLUMN department TEXT;
ALTER TABLE session ADD COLUMN department TEXT;
ALTER TABLE policy ADD COLUMN department TEXT;
DROP INDEX policy_scope;
CREATE UNIQUE INDEX policy_scope ON policy (COALESCE(department, ''), COALESCE(kind, ''), from_at);
