DROP TABLE session_change;
DROP TABLE membership_change;
