//! The client in a web page or worker, on the browser's own `WebSocket`, for `wasm32`.
//!
//! ```text
//!  JavaScript's objects          shared, Send                what the user holds
//!  ┌───────────────────┐ events  ┌────────────┐  futures   ┌─────────────────────┐
//!  │ registry: socket, │ ──────▶ │ State      │ ─────────▶ │ WebSocket, Sender   │
//!  │ listeners         │ ◀────── │            │            │                     │
//!  └───────────────────┘  sends  └────────────┘            └─────────────────────┘
//! ```
//!
//! JavaScript's objects belong to one thread and stay in its [registry]; what the user holds is a
//! key into it, so it is `Send` as on other targets. Another thread finds nothing under that key,
//! and there the connection counts as closed.

mod connecting;
pub(crate) mod registry;
mod state;

pub(crate) use connecting::open;
pub(crate) use state::{Limits, Shared};
