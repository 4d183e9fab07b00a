//! Deriving keys from secrets, and decrypting records.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::{hkdf, hmac};

use super::HEADER;
use crate::explain::Side;

/// A cipher suite: its cipher, and the hash for key derivation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suite {
    cipher: Cipher,
    is_sha384: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cipher {
    Aes128,
    Aes256,
    ChaCha20,
}

impl Suite {
    /// Looks up a suite by its number in the registry.
    pub(super) fn new(number: u16) -> Option<Self> {
        let (cipher, is_sha384) = match number {
            // TLS 1.3; ECDHE with ECDSA and RSA; RSA; DHE.
            0x1301 | 0xc02b | 0xc02f | 0x009c | 0x009e => (Cipher::Aes128, false),
            0x1302 | 0xc02c | 0xc030 | 0x009d | 0x009f => (Cipher::Aes256, true),
            0x1303 | 0xcca8 | 0xcca9 | 0xccaa => (Cipher::ChaCha20, false),
            _ => return None,
        };
        Some(Self { cipher, is_sha384 })
    }

    fn algorithm(self) -> &'static Algorithm {
        match self.cipher {
            Cipher::Aes128 => &AES_128_GCM,
            Cipher::Aes256 => &AES_256_GCM,
            Cipher::ChaCha20 => &CHACHA20_POLY1305,
        }
    }

    fn hash_length(self) -> usize {
        if self.is_sha384 { 48 } else { 32 }
    }
}

/// One direction's key, and the number of records decrypted.
#[derive(Debug)]
pub(super) struct Protection {
    suite: Suite,
    key: LessSafeKey,
    iv: Vec<u8>,
    sequence: u64,
    /// TLS 1.3: the secret from which the next key is derived.
    secret: Vec<u8>,
}

impl Protection {
    /// RFC 8446 §7.3.
    pub(super) fn of_1_3(suite: Suite, secret: &[u8]) -> Option<Self> {
        if secret.len() != suite.hash_length() {
            return None;
        }
        let key = expand_label(suite, secret, b"key", suite.algorithm().key_len())?;
        let iv = expand_label(suite, secret, b"iv", 12)?;
        Self::new(suite, &key, iv, secret.to_vec())
    }

    /// RFC 8446 §7.2: the key after a `KeyUpdate`.
    pub(super) fn next(&self) -> Option<Self> {
        let length = self.suite.hash_length();
        let secret = expand_label(self.suite, &self.secret, b"traffic upd", length)?;
        Self::of_1_3(self.suite, &secret)
    }

    /// RFC 5246 §6.3.
    pub(super) fn of_1_2(
        suite: Suite,
        master: &[u8],
        client_random: &[u8; 32],
        server_random: &[u8; 32],
        side: Side,
    ) -> Option<Self> {
        let key = suite.algorithm().key_len();
        let iv = implicit_nonce(suite);
        let seed = [&server_random[..], &client_random[..]].concat();
        let block = prf(suite, master, b"key expansion", &seed, 2 * (key + iv));
        // Both keys, then both nonces; the client's first in each pair.
        let turn = usize::from(side == Side::Server);
        let (keys, ivs) = block.split_at_checked(2 * key)?;
        let of_side = |part: &[u8], length: usize| -> Option<Vec<u8>> {
            Some(part.get(turn * length..(turn + 1) * length)?.to_vec())
        };
        Self::new(suite, &of_side(keys, key)?, of_side(ivs, iv)?, Vec::new())
    }

    fn new(suite: Suite, key: &[u8], iv: Vec<u8>, secret: Vec<u8>) -> Option<Self> {
        let key = UnboundKey::new(suite.algorithm(), key).ok()?;
        Some(Self {
            suite,
            key: LessSafeKey::new(key),
            iv,
            sequence: 0,
            secret,
        })
    }

    /// Decrypts a TLS 1.3 record; returns its actual type and content.
    pub(super) fn open_1_3(&mut self, record: &[u8]) -> Option<(u8, Vec<u8>)> {
        let (header, content) = record.split_at_checked(HEADER)?;
        let nonce = self.counted_nonce()?;
        let mut plain = self.open(nonce, header, content)?;
        // RFC 8446 §5.4: zeros, preceded by the type.
        while plain.last() == Some(&0) {
            plain.pop();
        }
        let kind = plain.pop()?;
        Some((kind, plain))
    }

    /// Decrypts a TLS 1.2 record.
    pub(super) fn open_1_2(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let (header, content) = record.split_at_checked(HEADER)?;
        // RFC 5288 §3: records of GCM start with the second part of their nonce. RFC 7905 §2: those
        // of ChaCha20-Poly1305 do not.
        let (nonce, content) = if self.suite.cipher == Cipher::ChaCha20 {
            (self.counted_nonce()?, content)
        } else {
            let (explicit, content) = content.split_at_checked(8)?;
            let nonce = [&self.iv[..], explicit].concat().try_into().ok()?;
            (nonce, content)
        };
        // RFC 5246 §6.2.3.3: the length is that of the plaintext.
        let length = content
            .len()
            .checked_sub(self.suite.algorithm().tag_len())?;
        let length = u16::try_from(length).ok()?.to_be_bytes();
        let sequence = self.sequence.to_be_bytes();
        let additional = [&sequence[..], &header[..3], &length[..]].concat();
        self.open(nonce, &additional, content)
    }

    /// RFC 8446 §5.3.
    fn counted_nonce(&self) -> Option<[u8; 12]> {
        let mut nonce: [u8; 12] = self.iv.as_slice().try_into().ok()?;
        for (byte, count) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= count;
        }
        Some(nonce)
    }

    fn open(&mut self, nonce: [u8; 12], additional: &[u8], content: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = content.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(additional), &mut buffer)
            .ok()?;
        let length = plain.len();
        buffer.truncate(length);
        self.sequence = self.sequence.checked_add(1)?;
        Some(buffer)
    }
}

/// The number of bytes of a nonce that come from the handshake in TLS 1.2.
fn implicit_nonce(suite: Suite) -> usize {
    if suite.cipher == Cipher::ChaCha20 {
        12
    } else {
        4
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// RFC 8446 §7.1.
fn expand_label(suite: Suite, secret: &[u8], label: &[u8], length: usize) -> Option<Vec<u8>> {
    let algorithm = if suite.is_sha384 {
        hkdf::HKDF_SHA384
    } else {
        hkdf::HKDF_SHA256
    };
    let length_bytes = u16::try_from(length).ok()?.to_be_bytes();
    let label_length = u8::try_from(label.len() + 6).ok()?;
    let info: [&[u8]; 5] = [&length_bytes, &[label_length], b"tls13 ", label, &[0]];
    let mut out = vec![0; length];
    let secret = hkdf::Prk::new_less_safe(algorithm, secret);
    let okm = secret.expand(&info, Length(length)).ok()?;
    okm.fill(&mut out).ok()?;
    Some(out)
}

/// RFC 5246 §5.
fn prf(suite: Suite, secret: &[u8], label: &[u8], seed: &[u8], length: usize) -> Vec<u8> {
    let algorithm = if suite.is_sha384 {
        hmac::HMAC_SHA384
    } else {
        hmac::HMAC_SHA256
    };
    let key = hmac::Key::new(algorithm, secret);
    let seed = [label, seed].concat();
    let mut out = Vec::new();
    let mut a = hmac::sign(&key, &seed);
    while out.len() < length {
        out.extend_from_slice(hmac::sign(&key, &[a.as_ref(), &seed].concat()).as_ref());
        a = hmac::sign(&key, a.as_ref());
    }
    out.truncate(length);
    out
}
