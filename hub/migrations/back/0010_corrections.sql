DROP TABLE correction_proposal;
