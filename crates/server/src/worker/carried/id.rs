//! The id of a connection over HTTP requests. Anyone who knows the id may send and receive on the
//! connection.

use std::{fmt, str::FromStr};

use crate::tokens::random_bytes;

/// A worker's number and 128 random bits, in hexadecimal: 36 digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CarriedId {
    worker: u16,
    secret: u128,
}

const DIGITS: usize = 36;

impl CarriedId {
    /// Returns `None` if the system cannot provide random bytes.
    pub(in crate::worker) fn random(worker: u16) -> Option<Self> {
        let secret = u128::from_be_bytes(random_bytes().ok()?);
        Some(Self { worker, secret })
    }

    pub(in crate::worker) const fn worker(self) -> u16 {
        self.worker
    }
}

impl fmt::Display for CarriedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}{:032x}", self.worker, self.secret)
    }
}

/// Omits the secret part of the id.
impl fmt::Debug for CarriedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CarriedId")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl FromStr for CarriedId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (worker, secret) = text.split_at_checked(4).filter(|_| digits).ok_or(())?;
        Ok(Self {
            worker: u16::from_str_radix(worker, 16).map_err(|_| ())?,
            secret: u128::from_str_radix(secret, 16).map_err(|_| ())?,
        })
    }
}
