//! The rules of the workspace, as tests: which crate may know which, what may be linked, and what
//! a file may look like. Every check is a function from what it reads to a list of complaints;
//! beside the test that expects none stand tests that show it complain.

mod arrows;
mod dependencies;
mod files;
mod licences;
mod manifests;
mod words;
mod workspace;

/// Fails with one line a complaint, so that a single run names all there is to mend.
#[track_caller]
fn expect_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n\n{}\n", complaints.join("\n"));
}
