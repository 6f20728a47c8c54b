-- Which sources name a thing, without reading all that any source names.

CREATE INDEX import_item_name ON import_item (kind, name);
