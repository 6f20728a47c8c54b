-- How far swipes of each journal have come in, for hubs beside the one that took them.

CREATE TABLE intake_head (
  journal_id BLOB PRIMARY KEY,
  through BIGINT NOT NULL
);
INSERT INTO intake_head (journal_id, through) SELECT journal_id, MAX(sequence) FROM swipe GROUP BY journal_id;
