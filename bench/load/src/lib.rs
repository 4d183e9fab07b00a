//! A WebSocket load generator that is not the bottleneck.
//!
//! One thread, one epoll. Every frame is masked (and compressed) before the clock starts, so what
//! is left while measuring is a read, a look at each answer's header and contents, and a write.
//!
//! The frames live in a [`ring::Ring`]; a [`link::Link`] is one connection that walks it; a
//! [`driver::Driver`] waits for all links at once. [`echo`], [`handshakes`] and [`idle`] are the
//! three things that can be measured, and each returns a [`report::Report`].

pub mod connection;
pub mod crowd;
pub mod deflate;
pub mod dialects;
pub mod driver;
pub mod echo;
pub mod fan_out;
pub mod handshakes;
pub mod holding;
pub mod idle;
pub mod link;
pub mod process;
pub mod publishing;
pub mod reading;
pub mod replies;
pub mod report;
pub mod ring;
pub mod slow_connection;
pub mod transport;
pub mod upgrade;
pub mod watch;
