DROP TABLE door_expectation;
