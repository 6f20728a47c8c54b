-- Swipes of which only an interval is known are few: those that may lie in some time are found beside those that do.

CREATE INDEX swipe_uncertain ON swipe (latest_at) WHERE latest_at > earliest_at;
