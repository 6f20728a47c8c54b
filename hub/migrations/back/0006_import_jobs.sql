DROP TABLE upload;
DROP TABLE upload_piece;
DROP TABLE import_job;
