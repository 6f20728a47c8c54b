DROP TABLE reader_event;
