//! The store that writer, reader and checker share, and what happens to it when a write fails.

use std::{
    fs,
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    LogOptions, copy_forward, private,
    store::{MEMTABLE, Store},
};

/// How many bytes are written to test whether the disk accepts writes: as much as a flush needs.
const PROBE: usize = MEMTABLE as usize;
/// A page of history takes milliseconds to read; on a failing disk, seconds.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// The store in use, shared by writer and reader.
#[derive(Clone)]
pub(super) struct SharedStore {
    options: Arc<LogOptions>,
    state: Arc<Mutex<State>>,
}

/// ```text
///          a write failed              the disk takes writes again
/// Writable ──────────────▶ ReadOnly ─────────┬──────────────────────▶ Writable
///                                            ▼   ▲ it can't be opened
///                                           Closed
/// ```
enum State {
    Writable(Arc<Store>),
    /// Acknowledged data is read from here; nothing is written.
    ReadOnly(Arc<Store>),
    Closed,
}

impl SharedStore {
    pub(super) fn new(options: LogOptions, store: Store) -> Self {
        let state = Arc::new(Mutex::new(State::Writable(Arc::new(store))));
        Self {
            options: Arc::new(options),
            state,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store for reading. Waits while it is being opened again.
    pub(super) fn get(&self) -> Option<Arc<Store>> {
        match &*self.state() {
            State::Writable(store) | State::ReadOnly(store) => Some(Arc::clone(store)),
            State::Closed => None,
        }
    }

    /// The store for writing.
    pub(super) fn writable(&self) -> Option<Arc<Store>> {
        match &*self.state() {
            State::Writable(store) => Some(Arc::clone(store)),
            State::ReadOnly(_) | State::Closed => None,
        }
    }

    /// A write failed: from now on only data written before is served.
    pub(super) fn stop_writing(&self) {
        let mut state = self.state();
        if let State::Writable(store) = &*state {
            *state = State::ReadOnly(Arc::clone(store));
        }
    }

    pub(super) fn close(&self) {
        *self.state() = State::Closed;
    }

    /// Tests whether the file system accepts as much data as a flush needs.
    pub(super) fn try_disk(&self) -> io::Result<()> {
        let probe = self.options.path.join("probe");
        let written = private::options()
            .truncate(true)
            .open(&probe)
            .and_then(|mut file| {
                file.write_all(&vec![0; PROBE])?;
                file.sync_all()
            });
        // An incomplete write leaves a partial file.
        drop(fs::remove_file(&probe));
        written
    }

    /// Closes the store and opens it again, if `quietly` without its background work. Data newer
    /// than the confirmed batch is made durable first: after a failed fsync it is readable, but not
    /// durable.
    pub(super) fn reopen(&self, confirmed: u64, quietly: bool) -> fjall::Result<Arc<Store>> {
        let open = if quietly {
            Store::open_quietly
        } else {
            Store::open
        };
        let mut state = self.state();
        if let State::Writable(old) | State::ReadOnly(old) =
            std::mem::replace(&mut *state, State::Closed)
        {
            wait_for_readers(old);
        }
        let mut store = open(&self.options)?;
        if store.newest()?.batch > confirmed {
            drop(store);
            copy_forward::copy_journals(&self.options.path)?;
            store = open(&self.options)?;
        }
        let store = Arc::new(store);
        *state = State::Writable(Arc::clone(&store));
        Ok(store)
    }
}

/// Waits until nothing reads from it any more: only then is its lock released. Every read is short,
/// and none starts in the meantime.
fn wait_for_readers(store: Arc<Store>) {
    let readers = Arc::downgrade(&store);
    drop(store);
    let end = Instant::now() + LONGEST_READ;
    while readers.strong_count() > 0 && Instant::now() < end {
        thread::sleep(Duration::from_millis(1));
    }
}
