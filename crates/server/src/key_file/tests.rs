use super::*;

#[test]
fn the_key_is_created_once_and_only_its_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let key = read_or_make(&data).unwrap();
    assert_eq!(read_or_make(&data).unwrap(), key);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(read_or_make(other.path()).unwrap(), key);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(data.join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    assert_eq!(
        fs::read_dir(&data).unwrap().count(),
        1,
        "nothing else is left"
    );
}

#[test]
fn an_invalid_key_file_is_reported_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(NAME), b"too short").unwrap();
    let error = read_or_make(directory.path()).unwrap_err().to_string();
    assert!(
        error.contains("contains 9 bytes") && error.contains("move the file away"),
        "{error}"
    );
}
