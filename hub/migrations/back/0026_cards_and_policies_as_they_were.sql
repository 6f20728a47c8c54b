DROP TABLE card_change;
DROP TABLE policy_edit;
