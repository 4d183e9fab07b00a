use super::*;

#[test]
fn a_witness_says_what_was_written_last() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(
        Witness::read(directory.path()).unwrap(),
        None,
        "there is none"
    );
    let log = LogId::fresh();
    let witness = Witness::begin(directory.path(), log, 7, 3).unwrap();
    let testimony = |batch| {
        Some(Testimony {
            log: log.to_bytes(),
            epoch: 7,
            batch,
        })
    };
    assert_eq!(Witness::read(directory.path()).unwrap(), testimony(3));
    witness.write(u64::MAX).unwrap();
    assert_eq!(
        Witness::read(directory.path()).unwrap(),
        testimony(u64::MAX)
    );
}

#[test]
fn a_witness_that_is_damaged_cut_off_or_something_else_says_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    Witness::begin(directory.path(), LogId::fresh(), 7, 3).unwrap();
    let good = std::fs::read(&file).unwrap();
    assert_eq!(good.len(), LENGTH);
    let read = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        Witness::read(directory.path()).unwrap()
    };
    for at in 0..LENGTH {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert_eq!(read(&bad), None, "byte {at}");
    }
    for length in 0..LENGTH {
        assert_eq!(read(&good[..length]), None, "{length} bytes");
    }
    // Another file with a checksum of the same kind.
    let mut other = good.clone();
    other[0] = b'O';
    let check = checksum(&other[..LENGTH - 8]).to_be_bytes();
    other[LENGTH - 8..].copy_from_slice(&check);
    assert_eq!(read(&other), None);
    assert!(read(&good).is_some());
}
