DROP TABLE commissioning;
DROP INDEX outage_until;
