//! The path by which this program was called, for `offhook upgrade`.
//!
//! The system knows the file that runs, behind all symbolic links. If a link leads to the installed
//! version, it leads to another file after an update, and the next process has to be started by the
//! link.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

/// The absolute path by which this program was called, if it leads to the file that runs now; or
/// else that file.
pub(super) fn program() -> Option<PathBuf> {
    let file = env::current_exe().ok();
    let name = env::args_os().next()?;
    let path = env::var_os("PATH").unwrap_or_default();
    let found = candidates(&name, &path).into_iter();
    let mut found = found.filter_map(|path| std::path::absolute(path).ok());
    let is_this = |path: &PathBuf| file.as_deref().is_some_and(|file| is_same(path, file));
    found.find(is_this).or(file)
}

/// Where a program with this name may be. As for a shell, a name without `/` is searched for.
fn candidates(name: &OsStr, path: &OsStr) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    let directories = env::split_paths(path);
    directories.map(|directory| directory.join(name)).collect()
}

fn is_same(path: &Path, file: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    id(path).is_some_and(|this| id(file) == Some(this))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_searched_for_in_the_path_and_a_path_is_taken_as_it_is() {
        let named = |name: &str| candidates(OsStr::new(name), OsStr::new("/usr/bin:/bin"));
        let both = ["/usr/bin/offhook", "/bin/offhook"].map(PathBuf::from);
        assert_eq!(named("offhook"), both);
        assert_eq!(named("./offhook"), [PathBuf::from("./offhook")]);
    }

    #[test]
    fn a_link_is_the_same_program_as_the_file_to_which_it_leads() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("1.0"), directory.path().join("now"));
        fs::write(&file, "").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        assert!(is_same(&link, &file));
        assert!(!is_same(Path::new("/dev/null"), &file));
        assert!(!is_same(&directory.path().join("nothing"), &file));
    }
}
