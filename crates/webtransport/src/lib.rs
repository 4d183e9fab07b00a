//! A client of Offhook's WebTransport sessions, which `docs/webtransport.md` specifies: over QUIC, with one
//! control stream, a stream for each subscription that asks for one, and datagrams.
//!
//! | | |
//! |---|---|
//! | [`WebTransport`] | where to connect; a transport for the channel client (`Client::over`) |
//! | [`Session`] | an open session, for programs that speak the native dialect themselves |
//!
//! With the channel client, everything is as over a WebSocket: sessions resume, and may move to another
//! transport.
//!
//! ```no_run
//! use offhook_webtransport::WebTransport;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = offhook_client::Client::over(WebTransport::to("https://example.com/ws")?).connect().await?;
//! let mut chat = client.subscribe("chat").await?;
//! while let Some(event) = chat.next().await? {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod connect;
mod framing;
mod over;
mod session;

pub use connect::{InvalidUrl, WebTransport};
pub use session::{Closed, Event, Session};
