DROP INDEX student_programme;
ALTER TABLE student DROP COLUMN programme;
