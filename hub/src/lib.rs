//! Rollcall's hub: timetable, class lists, registers, absences and devices, behind GraphQL.
//!
//! `import` reads other systems' files, `export` writes lists into files, `jisc` says marks as Jisc takes them, `fetch` looks at
//! calendars elsewhere and `webhook` tells others, both by `outgoing`; `http` carries requests, `graphql` gives them their
//! types, `service` does what they ask, `store` keeps it, and the crate `rollcall-rules` decides. The hub never imports the gateway: they meet in
//! `schema.graphql`.

pub mod app;
pub mod clock;
pub mod config;
pub mod export;
pub mod fetch;
pub mod graphql;
pub mod http;
pub mod import;
pub mod jisc;
pub mod outgoing;
pub mod scalar;
pub mod service;
pub mod store;
pub mod webhook;
