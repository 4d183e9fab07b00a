//! JSON, for the dialects that speak it: writing objects, and the depth that data may have.

mod nesting;
mod object;

pub use nesting::MAX_NESTING;

pub(crate) use self::{
    nesting::is_shallow,
    object::{Object, json},
};
