DROP TABLE transaction_outcome;
