DROP TABLE webhook;
DROP TABLE webhook_delivery;
