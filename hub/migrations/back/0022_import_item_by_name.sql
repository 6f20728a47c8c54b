DROP INDEX import_item_name;
