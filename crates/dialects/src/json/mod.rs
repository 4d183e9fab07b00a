//! JSON for the dialects that use it: writing objects, and the maximum nesting of data.

mod nesting;
mod object;

pub use nesting::{MAX_NESTING, is_object, is_shallow};

pub(crate) use self::object::{Object, json};
