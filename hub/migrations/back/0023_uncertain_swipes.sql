DROP INDEX swipe_uncertain;
