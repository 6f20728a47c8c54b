-- The last heartbeat or batch of each gateway that was taken, by its id. It comes back from a backup together with what was in
-- it, so a gateway that was told of a later one learns that the hub was restored.

ALTER TABLE gateway ADD COLUMN exchange BLOB;
