DROP TABLE import_item;
DROP TABLE attendance_gone;
