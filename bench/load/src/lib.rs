//! A WebSocket load generator that does not become the bottleneck.
//!
//! One thread and one epoll. Every frame is masked (and compressed) before the clock starts. While
//! measuring, it only reads, compares each answer's header and content, and writes.
//!
//! The frames are in a [`ring::Ring`]. A [`link::Link`] is one connection that sends its messages
//! in order. A [`driver::Driver`] waits for all links at once. [`echo`], [`handshakes`] and
//! [`idle`] are the three measurements, and each returns a [`report::Report`].

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
pub mod polled;
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
