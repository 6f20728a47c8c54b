ALTER TABLE gateway DROP COLUMN exchange_answer;
