//! GraphQL: `graphql-transport-ws` over WebSocket, and operations over HTTP requests, specified in
//! `docs/dialects/graphql.md`.
//!
//! [`GraphQl`] holds the state of one connection, and [`Once`] that of a request. A document is
//! parsed (`syntax`), validated and merged into the fields of its answer (`plan`), and each field of
//! its root becomes a command (`commands`, `execution`), whose reply is written as the document asks
//! for it (`results`, `template`, `introspection`).
//!
//! All of this is our own, and no crate for GraphQL is used. The schema is small and fixed, and has
//! neither interfaces nor unions, which is where most of a general implementation goes. The answer
//! to a field comes from the engine later, as a reply; resolvers that are futures do not fit a dialect
//! without I/O. A publication goes to thousands of connections with different selections, which are
//! compiled once instead of executed each time. And hostile documents are refused while they are read,
//! by their tokens and nesting, before there is anything to execute. A parser alone would have brought
//! a parser generator and an ordered map, and would have needed its limits beside it.
//!
//! Since it brings no dependency, no feature of Cargo turns it off; the setting `graphql.enabled`
//! does.

mod commands;
mod dialect;
mod execution;
mod failure;
mod input;
mod introspection;
mod message;
mod once;
mod out;
mod plan;
mod request;
mod results;
mod schema;
mod stream;
mod syntax;
mod template;

pub use dialect::GraphQl;
pub use failure::status_of;
pub use once::{Once, Unexecuted};

/// The subprotocol of WebSockets.
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

/// The limits of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether clients can ask for the schema.
    pub introspection: bool,
    /// The deepest nesting of fields. At most 64.
    pub depth: usize,
    /// The most fields of a document, counting those of a fragment wherever it is used.
    pub fields: usize,
    /// The most aliases of a document.
    pub aliases: usize,
    /// The most operations of a batch.
    pub batch: usize,
}
