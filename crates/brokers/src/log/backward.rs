//! History read backward: the newest publications before a place.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use offhook_engine::{BrokerFailure, Publication, ReadStart};

use super::{
    condition::Condition,
    open_error::failure_of,
    reader::{Read, ReadJob},
    record::{decode, offset_of},
    store::Store,
};

/// How many unreadable publications in a row are tried before the search for a readable one is
/// given up. 4,096: as many as forward reading tries individually.
const DAMAGED: u64 = 4096;

/// What stands at an offset.
enum Found {
    Publication(Publication),
    /// Something that can't be read.
    Damaged,
    /// Nothing, and nothing older either: it was trimmed.
    Trimmed,
}

/// Reads the newest publications up to the start of the job, oldest first, without a hole. The page
/// ends before damaged publications.
pub(super) fn read(
    store: &Store,
    job: &ReadJob,
    condition: &Condition,
) -> Result<Read, BrokerFailure> {
    let mut stream = job.stream;
    let mut newest_first: Vec<Arc<Publication>> = Vec::new();
    let (mut offset, mut bytes, mut damaged) = (job.start.agreed.offset, 0, 0);
    while offset >= stream.first.max(1) && newest_first.len() < job.limit.count as usize {
        match find(store, job, offset)? {
            Found::Publication(publication) => {
                bytes += publication.weight();
                if bytes > job.limit.bytes && !newest_first.is_empty() {
                    break;
                }
                newest_first.push(Arc::new(publication));
            }
            Found::Trimmed => {
                stream.first = offset + 1;
                break;
            }
            Found::Damaged => {
                let what = format!("damaged at offset {offset}");
                condition.damaged(&job.channel, what);
                if !newest_first.is_empty() {
                    break;
                }
                damaged += 1;
                if damaged == DAMAGED {
                    return Err(BrokerFailure::StorageCorrupt);
                }
            }
        }
        offset -= 1;
    }
    newest_first.reverse();
    let start = ReadStart {
        after: job.lineage.at(&job.epochs, offset),
        ..job.start
    };
    Ok((stream, start, newest_first))
}

fn find(store: &Store, job: &ReadJob, offset: u64) -> Result<Found, BrokerFailure> {
    // The store may panic over a damaged block; that is one failed read, not a dead thread.
    let record = catch_unwind(AssertUnwindSafe(|| store.record(job.number, offset)));
    let bytes = match record {
        Ok(Ok(Some(bytes))) => bytes,
        Ok(Ok(None)) if is_oldest(store, job, offset) => return Ok(Found::Trimmed),
        Ok(Ok(None)) | Err(_) => return Ok(Found::Damaged),
        Ok(Err(error)) => {
            let failure = failure_of(&error);
            return match failure == BrokerFailure::StorageCorrupt {
                true => Ok(Found::Damaged),
                false => Err(failure),
            };
        }
    };
    let at = |offset| job.lineage.at(&job.epochs, offset);
    let place = (at(offset.saturating_sub(1)), at(offset));
    let publication = decode(&job.channel, place, &bytes);
    Ok(publication.map_or(Found::Damaged, Found::Publication))
}

/// Whether nothing before this offset is on disk.
fn is_oldest(store: &Store, job: &ReadJob, offset: u64) -> bool {
    let mut older = false;
    let first = |key: &[u8], _: &[u8]| {
        older = offset_of(key).is_some_and(|found| found < offset);
        false
    };
    let read = catch_unwind(AssertUnwindSafe(|| {
        store.read(job.number, job.stream.first, first)
    }));
    matches!(read, Ok(Ok(()))) && !older
}
