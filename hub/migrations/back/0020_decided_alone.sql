DROP TABLE decided_alone;
