//! The real program: what it prints, where, and with which exit code.

mod config;
mod decode;
mod manual;
mod program;
#[cfg(unix)]
mod prove;
mod serve;
