//! The rules of the workspace, as tests: which crate may depend on which, what may be linked, and
//! the form of files. Every check is a function from what it reads to a list of complaints. Next to
//! each test that expects none, other tests show that it complains.

mod arrows;
mod attacks;
mod dependencies;
mod files;
mod licences;
mod manifests;
mod words;
mod workspace;

/// Fails with one line per complaint, so that a single run lists everything to fix.
#[track_caller]
fn expect_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n\n{}\n", complaints.join("\n"));
}
