//! The API's types, one file each, thin over `service` and `store`: no SQL, no rules.
//!
//! Called by `http`, which gives every request its caller and its loaders. Every loader takes the caller.

use async_graphql::{MergedObject, Schema, SchemaBuilder};

use crate::service::Hub;

pub mod alert;
pub mod attendance;
pub mod batch;
pub mod calendar;
pub mod commissioning;
pub mod connection;
pub mod context;
pub mod correction;
pub mod estate;
pub mod event;
pub mod export;
pub mod feed;
pub mod gateway;
pub mod history;
pub mod id;
pub mod import;
pub mod loader;
pub mod mutation;
pub mod outage;
pub mod payload;
pub mod people;
pub mod policy;
pub mod query;
pub mod register;
pub mod report;
pub mod session;
pub mod source;
pub mod subscription;
pub mod swipe;
pub mod viewer;
pub mod webhook;
pub mod wide;
pub mod withdrawn;

/// How deep a query may nest.
pub const MAX_DEPTH: usize = 15;
/// How much a query may ask for, counted in fields.
pub const MAX_COMPLEXITY: usize = 5_000;

/// All reads. Connections take `first`/`after` or `last`/`before`; a page holds 50 unless told, 200 at most.
#[derive(MergedObject, Default)]
#[graphql(name = "Query")]
pub struct Query(
    query::Reads,
    report::Reports,
    policy::PolicyReads,
    import::Imports,
    export::Exports,
    webhook::Webhooks,
    correction::Corrections,
    source::CalendarSources,
    viewer::Myself,
    withdrawn::Withdrawn,
);

/// All writes. Each answers only once its effect is durable. Each takes one `input` and gives one payload
/// whose `errors` is empty exactly when it took effect.
#[derive(MergedObject, Default)]
#[graphql(name = "Mutation")]
pub struct Mutation(
    mutation::Saves,
    mutation::Marks,
    policy::PolicyWrites,
    gateway::GatewayWrites,
    gateway::GatewayDecisions,
    commissioning::CommissioningWrites,
    import::ImportWrites,
    export::ExportWrites,
    webhook::WebhookWrites,
    correction::CorrectionWrites,
    calendar::CalendarWrites,
    source::CalendarSourceWrites,
);

/// The schema that the hub serves.
pub type HubSchema = Schema<Query, Mutation, subscription::Subscription>;

fn builder() -> SchemaBuilder<Query, Mutation, subscription::Subscription> {
    Schema::build(Query::default(), Mutation::default(), subscription::Subscription)
        .register_output_type::<id::Node>()
        .register_output_type::<payload::UserError>()
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY)
}

/// The schema over a hub.
#[must_use]
pub fn schema(hub: Hub) -> HubSchema {
    builder().data(hub).finish()
}

/// The schema's text, as it stands in `schema.graphql`.
#[must_use]
pub fn sdl() -> String {
    let options = async_graphql::SDLExportOptions::new()
        .sorted_enum_items()
        .sorted_fields()
        .sorted_arguments()
        .include_specified_by();
    let text = builder().finish().sdl_with_options(options);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    format!("{}\n", lines.join("\n").trim())
}
