//! The seams, shown by what is added at them: a dialect and a transport that nothing but their tests
//! knows of.

mod toy_dialect;
mod toy_outlet;
