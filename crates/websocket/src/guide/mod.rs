//! A guide: from a first server to tuning its memory.
//!
//! 1. [A first server](first_server), and a client for it.
//! 2. [Rooms](rooms): the same message to many.
//! 3. [Slow clients](slow_clients): what happens when a peer does not keep up.
//! 4. [Who may connect](auth): cookies, tokens, origins, rejections.
//! 5. [Behind a proxy](behind_a_proxy): TLS that the proxy terminates, timeouts, addresses.
//! 6. [Tests](testing): two ends in memory, a network that fails, a paused clock.
//! 7. [Tuning memory](memory): what a connection costs, and how to reduce it.
//!
//! These modules contain only their pages.

#[doc = include_str!("auth.md")]
pub mod auth {}
#[doc = include_str!("behind_a_proxy.md")]
pub mod behind_a_proxy {}
#[doc = include_str!("first_server.md")]
pub mod first_server {}
#[doc = include_str!("memory.md")]
pub mod memory {}
#[doc = include_str!("rooms.md")]
pub mod rooms {}
#[doc = include_str!("slow_clients.md")]
pub mod slow_clients {}
#[doc = include_str!("testing.md")]
pub mod testing {}
