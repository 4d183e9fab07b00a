//! The building blocks of Offhook's tests: frames as expressions, a connection driven by a script
//! ([`Talk`]), and two connections ([`Pair`]) over a [`Link`] that delays, splits and fails, all on
//! a simulated [`Clock`].
//!
//! Nothing in this crate waits or is random: a test that fails once fails again.

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
