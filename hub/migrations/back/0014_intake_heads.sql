DROP TABLE intake_head;
