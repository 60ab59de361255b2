//! Bytes that only this process can read again: compressed, then sealed with a key that is never written down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::model::{Error, Result};

/// The nonce's number and the length of what was compressed.
const HEAD: usize = 12;

/// A key, and how often it has been used: no nonce is used twice.
#[derive(Clone)]
pub(super) struct Seal {
    key: Arc<LessSafeKey>,
    used: Arc<AtomicU64>,
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

impl Seal {
    pub(super) fn new() -> Result<Seal> {
        let mut key = [0; 32];
        SystemRandom::new().fill(&mut key).map_err(|_| Error::transient("the system has no random numbers"))?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| Error::bug("a key of another length"))?;
        Ok(Seal { key: Arc::new(LessSafeKey::new(key)), used: Arc::new(AtomicU64::new(0)) })
    }

    /// What goes to the file.
    pub(super) fn close(&self, raw: &[u8]) -> Result<Vec<u8>> {
        let number = self.used.fetch_add(1, Ordering::Relaxed);
        let length = u32::try_from(raw.len()).map_err(|_| Error::bug("a chunk of more than 4 GiB"))?;
        let mut sealed = vec![0; HEAD + get_maximum_output_size(raw.len())];
        let (head, body) = sealed.split_at_mut(HEAD);
        head.copy_from_slice(&[number.to_be_bytes().as_slice(), &length.to_be_bytes()].concat());
        let written = compress_into(raw, body).map_err(|error| Error::bug("compressing").because(error))?;
        let sealing = || Error::bug("a chunk can't be sealed");
        let body = body.get_mut(..written).ok_or_else(sealing)?;
        let tag = self.key.seal_in_place_separate_tag(nonce(number), Aad::from(&*head), body).map_err(|_| sealing())?;
        sealed.truncate(HEAD + written);
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// What [`Seal::close`] was given; `None` when these are not the bytes it made.
    pub(super) fn open(&self, mut sealed: Vec<u8>) -> Option<Bytes> {
        let (head, body) = sealed.split_at_mut_checked(HEAD)?;
        let (number, rest) = head.split_first_chunk::<8>()?;
        let (number, length) = (u64::from_be_bytes(*number), u32::from_be_bytes(rest.try_into().ok()?));
        let body = self.key.open_in_place(nonce(number), Aad::from(&*head), body).ok()?;
        let mut raw = vec![0; usize::try_from(length).ok()?];
        let written = decompress_into(body, &mut raw).ok()?;
        (written == raw.len()).then(|| raw.into())
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    if let Some(low) = nonce.last_chunk_mut::<8>() {
        *low = number.to_be_bytes();
    }
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened_and_nothing_else_is() {
        let (seal, raw) = (Seal::new().unwrap(), b"CANARY CANARY CANARY CANARY".repeat(1000));
        let sealed = seal.close(&raw).unwrap();
        assert!(sealed.len() < raw.len() / 10, "{} bytes", sealed.len());
        assert!(!sealed.windows(6).any(|window| window == b"CANARY"));
        assert_eq!(seal.open(sealed.clone()).as_deref(), Some(raw.as_slice()));
        assert_ne!(seal.close(&raw).unwrap()[HEAD..], sealed[HEAD..], "the same twice");
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(seal.open(flipped), None, "byte {at}");
            assert_eq!(seal.open(sealed[..at].to_vec()), None, "cut at {at}");
        }
        assert_eq!(Seal::new().unwrap().open(sealed), None, "another process");
    }
}
