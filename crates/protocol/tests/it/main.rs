//! Conversations with a `Connection`, one module for each part of the specifications.
