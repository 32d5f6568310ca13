//! What an operator is given with a preview, and has to give back: what was looked at, until when it counts, and a
//! signature.
//!
//! Invariant: nobody but a replica with the same secret can make one, and what it says cannot be changed.

use std::fmt::Write as _;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use s3o_core::removal::{Removal, RemovalOrder};
use s3o_types::{BackendId, Place, Secret, Seq};
use tonic::Status;
use uuid::Uuid;

use crate::status::bad_request;

/// Keeps these signatures apart from whatever else the secret may sign.
const PURPOSE: &str = "s3o admin remove backend 1";

pub(crate) struct Confirmations {
    key: Key,
}

impl Confirmations {
    /// Without a secret one is drawn, and only this process takes what it gave. The secret itself signs nothing that leaves.
    pub(crate) fn new(secret: Option<&Secret>) -> Self {
        let drawn = || rand::random::<[u8; 32]>().to_vec();
        let secret = secret.map_or_else(drawn, |secret| secret.expose().as_bytes().to_vec());
        let derived = sign(&Key::new(HMAC_SHA256, &secret), PURPOSE.as_bytes());
        Self { key: Key::new(HMAC_SHA256, derived.as_ref()) }
    }

    /// For this order, of that cluster.
    pub(crate) fn issue(&self, cluster: Uuid, order: RemovalOrder) -> String {
        let RemovalOrder { backend, removal: Removal { mode, losses_upto }, drained_us, place, until_us } =
            order;
        let upto = losses_upto.map_or_else(|| "none".to_owned(), |seq| seq.0.to_string());
        let (id, mode, place) = (backend.0, mode.as_str(), place.number());
        let said = format!("{id}.{mode}.{upto}.{drained_us}.{place}.{until_us}");
        let signature = sign(&self.key, signed(cluster, &said).as_bytes());
        let mut text = format!("{said}.");
        for byte in signature.as_ref() {
            // A String takes whatever is written to it.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// What a confirmation says, if it is one of ours. Whether it is too old, the database decides.
    pub(crate) fn read(&self, cluster: Uuid, text: &str) -> Result<RemovalOrder, Status> {
        let wrong = || bad_request("confirmation", "is none that this cluster has given");
        let (said, signature) = text.rsplit_once('.').ok_or_else(wrong)?;
        let signature = unhex(signature).ok_or_else(wrong)?;
        verify(&self.key, signed(cluster, said).as_bytes(), &signature).map_err(|_| wrong())?;
        parse(said).ok_or_else(wrong)
    }
}

fn signed(cluster: Uuid, said: &str) -> String {
    format!("{cluster}\n{said}")
}

fn parse(said: &str) -> Option<RemovalOrder> {
    let mut words = said.split('.');
    let backend = BackendId(words.next()?.parse().ok()?);
    let mode = words.next()?.parse().ok()?;
    let losses_upto = match words.next()? {
        "none" => None,
        upto => Some(Seq(upto.parse().ok()?)),
    };
    let drained_us = words.next()?.parse().ok()?;
    let place = Place::from_number(words.next()?.parse().ok()?);
    let until_us = words.next()?.parse().ok()?;
    Some(RemovalOrder { backend, removal: Removal { mode, losses_upto }, drained_us, place, until_us })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use s3o_core::removal::RemovalMode;

    fn order() -> RemovalOrder {
        let removal = Removal { mode: RemovalMode::Purge, losses_upto: Some(Seq(55)) };
        let place = Place::from_number(3);
        let (drained_us, until_us) = (1_600_000_000_000_000, 1_700_000_000_000_000);
        RemovalOrder { backend: BackendId(7), removal, drained_us, place, until_us }
    }

    #[test]
    fn what_was_given_comes_back_and_nothing_else_does() {
        let (secret, cluster) = (Secret::new("a secret".to_owned()), Uuid::from_u128(1));
        let (one, other) = (Confirmations::new(Some(&secret)), Confirmations::new(Some(&secret)));
        let text = one.issue(cluster, order());
        assert_eq!(other.read(cluster, &text).expect("another replica's"), order());
        assert!(other.read(Uuid::from_u128(2), &text).is_err(), "another cluster's");
        let drawn = Confirmations::new(None);
        assert!(drawn.read(cluster, &text).is_err(), "another secret");
        assert_eq!(drawn.read(cluster, &drawn.issue(cluster, order())).expect("its own"), order());
        for changed in [
            text.replacen('7', "8", 1),
            text.replacen("purge", "forget", 1),
            text.replacen(".55.", ".56.", 1),
            text.replacen(".55.", ".none.", 1),
            text.replacen(".3.", ".4.", 1),
            text.replacen(".16", ".15", 1),
            text.replacen(".17", ".18", 1),
            text[..text.len() - 2].to_owned(),
            text[..text.len() - 1].to_owned(),
            format!("{text}00"),
            String::new(),
            ".".to_owned(),
        ] {
            assert!(one.read(cluster, &changed).is_err(), "{changed}");
        }
    }
}
