//! JSON, for the dialects that speak it: writing objects, and the depth that data may have.

mod nesting;
mod object;

pub use nesting::{MAX_NESTING, is_shallow};

pub(crate) use self::object::{Object, json};
