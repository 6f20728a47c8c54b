-- What a student studies for, as the registry names it.

ALTER TABLE student ADD COLUMN programme TEXT;
CREATE INDEX student_programme ON student (programme, number);
