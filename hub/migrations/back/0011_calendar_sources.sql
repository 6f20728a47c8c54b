DROP TABLE calendar_source;
