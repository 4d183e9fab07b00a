//! The real-time server: channels over a durable log, on WebSockets.
//!
//! [`Server::start`] brings up workers, each a thread with its own event loop, listener, engine
//! and connections; [`Running`] knows their addresses and stops them. The wiring is here; what a channel
//! is, is `offhook-engine`'s, what is kept is `offhook-brokers`', what is spoken is
//! `offhook-dialects`', and how a WebSocket works is `offhook`'s.
//!
//! ```no_run
//! use offhook_server::{Config, Server};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::start(Config::default()).await?;
//! println!("the chat is at http://{}/talk/", server.addresses()[0]);
//! tokio::signal::ctrl_c().await?;
//! server.stop().await;
//! # Ok(())
//! # }
//! ```

mod auth;
mod directory;
mod door;
mod http;
mod key_file;
mod refused;
mod server;
mod sessions;
mod start_error;
mod tokens;
mod worker;

pub use offhook_config as config;
pub use offhook_config::Config;
pub use server::{Running, Server};
pub use sessions::Sessions;
pub use start_error::StartError;
