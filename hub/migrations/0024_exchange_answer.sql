-- What the hub calls what it took last of each gateway, in its answer: a word of its own. The same call, come once more to a hub
-- that was restored, is answered by another word; so nothing that followed the first is taken for what follows the second.

ALTER TABLE gateway ADD COLUMN exchange_answer BLOB;
