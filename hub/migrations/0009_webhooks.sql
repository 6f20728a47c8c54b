-- Addresses that are told of events, and what they are told: written in the transaction that brings an event about.

CREATE TABLE webhook (
  id BLOB PRIMARY KEY,
  url TEXT NOT NULL,
  events TEXT NOT NULL,
  secret TEXT NOT NULL,
  enabled BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  failures BIGINT NOT NULL,
  failing_since BIGINT,
  not_before BIGINT NOT NULL
);
CREATE TABLE webhook_delivery (
  id BLOB PRIMARY KEY,
  webhook_id BLOB NOT NULL,
  event TEXT NOT NULL,
  payload TEXT NOT NULL,
  state TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL,
  tried_at BIGINT,
  last_status BIGINT,
  last_error TEXT,
  next_at BIGINT NOT NULL
);
CREATE INDEX webhook_delivery_waiting ON webhook_delivery (webhook_id, state, next_at);
CREATE INDEX webhook_delivery_page ON webhook_delivery (webhook_id, created_at, id);
CREATE INDEX webhook_delivery_age ON webhook_delivery (state, created_at);
