//! Conversations with a `Connection`, one module for each part of the specifications, so that
//! this list is an index of them.

mod rfc6455_5_4_fragmentation;
