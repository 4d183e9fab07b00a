//! What Offhook's tests are made of: frames written as sentences, one connection talking to a
//! script ([`Talk`]), two connections talking to one another ([`Pair`]) over a [`Link`] that
//! delays, cuts into segments and fails, on a [`Clock`] that moves when it is told to.
//!
//! Nothing here waits, and nothing here is random by itself: a test that fails once fails again.

mod agreement;
mod clock;
mod cuts;
pub mod frames;
pub mod fuzz;
mod link;
mod pair;
mod talk;

pub use agreement::{agree, deflates};
pub use clock::Clock;
pub use cuts::{fails_whatever_the_cut, whatever_the_cut};
pub use frames::Frame;
pub use link::{Link, Segments};
pub use pair::{End, Pair};
pub use talk::{Heard, Talk};
