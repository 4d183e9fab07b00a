//! Tests of the real program: its output and its exit code.

mod bench;
mod check;
mod config;
mod decode;
mod deployed;
mod deployment;
mod dial;
#[cfg(unix)]
mod documented;
mod explain;
mod log;
mod manual;
mod paused;
mod peer;
mod program;
#[cfg(unix)]
mod prove;
mod reload;
mod serve;
mod serving;
mod supervised;
mod token;
#[cfg(unix)]
mod upgrade;
