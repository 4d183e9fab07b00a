//! A pool of codecs: a connection needs one only while it handles a message.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zlib_rs::{Deflate, DeflateConfig as ZlibConfig, Inflate};

/// DEFLATE codecs that connections borrow for the duration of a message.
///
/// Cloning makes another handle to the same pool; any number of connections and threads may share
/// it. Memory is allocated on first use.
///
/// ```
/// use offhook_protocol::deflate::DeflatePool;
///
/// // A worker thread handles one message at a time: two codecs of each kind
/// // are plenty.
/// let pool = DeflatePool::with_max_idle(2);
/// let for_a_connection = pool.clone();
/// ```
#[derive(Clone)]
pub struct DeflatePool {
    shared: Arc<Shared>,
}

struct Shared {
    max_idle: usize,
    deflates: Mutex<Vec<LentDeflate>>,
    inflates: Mutex<Vec<LentInflate>>,
}

/// The configuration a compressor was built with; it can be reused only for the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeflateKind {
    /// 9 to 15: zlib-rs does not support raw streams with fewer.
    pub(super) window_bits: u8,
    pub(super) level: u8,
    pub(super) mem_level: u8,
}

/// A compressor and the configuration it was built with.
pub(super) struct LentDeflate {
    kind: DeflateKind,
    pub(super) stream: Box<Deflate>,
}

/// A decompressor.
pub(super) struct LentInflate {
    pub(super) stream: Box<Inflate>,
}

impl Default for DeflatePool {
    /// At most 16 idle codecs of each kind: enough that threads seldom allocate, and 7 MiB at
    /// worst.
    fn default() -> Self {
        Self::with_max_idle(16)
    }
}

impl DeflatePool {
    /// A pool that keeps at most `max_idle` idle compressors and as many decompressors. More may be
    /// borrowed at once; a codec returned to a full pool is freed.
    #[must_use]
    pub fn with_max_idle(max_idle: usize) -> Self {
        let shared = Shared {
            max_idle,
            deflates: Mutex::new(Vec::new()),
            inflates: Mutex::new(Vec::new()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A compressor at the start of a stream.
    pub(super) fn lend_deflate(&self, kind: DeflateKind) -> LentDeflate {
        let mut idle = lock(&self.shared.deflates);
        let found = idle.iter().rposition(|lent| lent.kind == kind);
        let lent = found.map(|index| idle.remove(index));
        drop(idle);
        match lent {
            Some(mut lent) => {
                lent.stream.reset();
                lent
            }
            None => LentDeflate::new(kind),
        }
    }

    pub(super) fn take_back_deflate(&self, lent: LentDeflate) {
        let mut idle = lock(&self.shared.deflates);
        idle.push(lent);
        // The codec that was idle longest is freed: if its configuration is no longer used, it must
        // not keep others out.
        let too_many = idle.len() > self.shared.max_idle;
        let surplus = too_many.then(|| idle.remove(0));
        drop(idle);
        drop(surplus);
    }

    /// A decompressor at the start of a stream.
    pub(super) fn lend_inflate(&self) -> LentInflate {
        let idle = lock(&self.shared.inflates).pop();
        match idle {
            Some(mut lent) => {
                lent.stream.reset(false);
                lent
            }
            // zlib-rs allocates for 15 bits, whatever is requested.
            None => LentInflate {
                stream: Box::new(Inflate::new(false, 15)),
            },
        }
    }

    pub(super) fn take_back_inflate(&self, lent: LentInflate) {
        let mut idle = lock(&self.shared.inflates);
        if idle.len() < self.shared.max_idle {
            idle.push(lent);
        }
    }
}

impl LentDeflate {
    pub(super) fn new(kind: DeflateKind) -> Self {
        let config = ZlibConfig {
            level: i32::from(kind.level),
            // Negative: a raw stream, without zlib's header.
            window_bits: i32::from(kind.window_bits).saturating_neg(),
            mem_level: i32::from(kind.mem_level),
            ..ZlibConfig::default()
        };
        Self {
            kind,
            stream: Box::new(Deflate::new_with_config(config)),
        }
    }
}

/// A thread that panicked while holding the lock left the list of codecs intact: no operation on it
/// can stop half way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for DeflatePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeflatePool")
            .field("max_idle", &self.shared.max_idle)
            .field("idle_compressors", &lock(&self.shared.deflates).len())
            .field("idle_decompressors", &lock(&self.shared.inflates).len())
            .finish()
    }
}

impl fmt::Debug for LentDeflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentDeflate")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LentInflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentInflate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
