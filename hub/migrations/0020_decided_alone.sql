-- How many marks each person decided of, or took decisions back of, without another's approval, in the last day: bulk corrections
-- need two people, also when they come in many small pieces. By name, as one person may have several tokens.

CREATE TABLE decided_alone (
    name TEXT NOT NULL,
    at BIGINT NOT NULL,
    marks BIGINT NOT NULL
);

CREATE INDEX decided_alone_by_name ON decided_alone (name, at);
