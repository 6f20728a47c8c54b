-- A word that came with this version.
DELETE FROM import_job WHERE kind = 'ITC_2019';
DROP INDEX student_programme;
ALTER TABLE student DROP COLUMN programme;
