use super::*;

fn kind(window_bits: u8) -> DeflateKind {
    DeflateKind {
        window_bits,
        level: 6,
        mem_level: 8,
    }
}

fn idle(pool: &DeflatePool) -> Vec<u8> {
    lock(&pool.shared.deflates)
        .iter()
        .map(|lent| lent.kind.window_bits)
        .collect()
}

#[test]
fn a_pool_can_be_shared_by_threads() {
    fn shareable<T: Send + Sync + Clone>(_: &T) {}
    shareable(&DeflatePool::default());
}

#[test]
fn a_codec_is_reused_only_with_the_same_parameters() {
    let pool = DeflatePool::default();
    pool.take_back_deflate(LentDeflate::new(kind(9)));
    assert_eq!(pool.lend_deflate(kind(12)).kind, kind(12));
    assert_eq!(idle(&pool), [9]);
    assert_eq!(pool.lend_deflate(kind(9)).kind, kind(9));
    assert_eq!(idle(&pool), []);
}

#[test]
fn a_full_pool_drops_the_codec_that_was_idle_longest() {
    let pool = DeflatePool::with_max_idle(2);
    for bits in [9, 10, 11] {
        pool.take_back_deflate(LentDeflate::new(kind(bits)));
    }
    assert_eq!(idle(&pool), [10, 11]);
}

#[test]
fn a_pool_may_keep_nothing() {
    let pool = DeflatePool::with_max_idle(0);
    pool.take_back_deflate(pool.lend_deflate(kind(9)));
    pool.take_back_inflate(pool.lend_inflate());
    assert!(format!("{pool:?}").ends_with("idle_compressors: 0, idle_decompressors: 0 }"));
}
