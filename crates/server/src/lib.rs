//! The real-time server: channels over a durable log, on WebSockets.
//!
//! [`Server::start`] starts workers, each a thread with its own event loop, listener, engine and
//! connections; [`Running`] has their addresses and stops them. This crate connects the parts:
//! `offhook-engine` defines channels, `offhook-brokers` stores them, `offhook-dialects` defines the
//! wire formats, and `offhook` implements WebSockets.
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
mod backend;
mod data;
mod directory;
mod door;
mod http;
mod http2;
mod http3;
mod json_object;
mod key_file;
mod listeners;
mod metrics;
mod paused;
mod refused;
mod reload;
mod server;
mod sessions;
mod sockets;
mod stamp;
mod start_error;
mod tokens;
mod worker;

pub use door::OverEngineIo;
pub use listeners::{Listening, Served};
pub use offhook_config as config;
pub use offhook_config::Config;
pub use paused::Paused;
pub use server::{Prepared, Running, Server};
pub use sessions::Sessions;
pub use sockets::{ListeningSocket, Sockets};
pub use start_error::StartError;
