//! Objects and parts: known answers, every bit, every other place, another implementation, no nonce twice.

use std::collections::HashSet;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use proptest::prelude::*;

use super::{DERIVATIONS, bytes, number, secret, text, unhex, vectors};
use crate::error::{ErrorKind, Layer};
use crate::seal::secret::derive_pair;
use crate::seal::{Binding, ObjectKey, ObjectType, Part, Purpose, Secret, Suite};

fn part_of(kind: u64, stream: u64, chunk: u64) -> Part {
    match kind {
        1 => Part::Block { stream: u16::try_from(stream).unwrap(), chunk },
        2 => Part::IndexBlock(chunk),
        3 => Part::Directory,
        4 => Part::Metadata,
        _ => Part::Body,
    }
}

fn binding_of(object: &serde_json::Value) -> Binding {
    Binding {
        suite: Suite::from_number(u16::try_from(number(object, "suite")).unwrap()).unwrap(),
        object_type: [ObjectType::Archive, ObjectType::Keyring, ObjectType::Record]
            [usize::try_from(number(object, "object_type")).unwrap() - 1],
        epoch: u32::try_from(number(object, "epoch")).unwrap(),
        repository: bytes(object, "repository"),
        object: bytes(object, "object"),
    }
}

#[test]
fn objects_and_parts_are_those_of_the_vectors() {
    let vectors = vectors(DERIVATIONS);
    let mut parts_seen = 0;
    for object in vectors["objects"].as_array().unwrap() {
        let (root, salt, binding) = (secret(object, "root"), bytes(object, "salt"), binding_of(object));
        let commitment = bytes(object, "commitment");
        let key = ObjectKey::committed(&root, &salt, &binding, &commitment, "vector").unwrap();
        for part in object["parts"].as_array().unwrap() {
            let place = part_of(number(part, "kind"), number(part, "stream"), number(part, "chunk"));
            assert_eq!(place.nonce().to_vec(), unhex(text(part, "nonce")));
            assert!(unhex(text(part, "associated")).starts_with(&key.associated_data(place)));
            let (plain, mut sealed) = (unhex(text(part, "plain")), unhex(text(part, "plain")));
            if text(part, "public_digest").is_empty() {
                key.seal(place, &mut sealed).unwrap();
                assert_eq!(sealed, unhex(text(part, "sealed")));
                assert_eq!(key.open(place, &mut sealed, "vector").unwrap(), plain);
            } else {
                let digest = bytes(part, "public_digest");
                key.seal_with(place, &digest, &mut sealed).unwrap();
                assert_eq!(sealed, unhex(text(part, "sealed")));
                assert_eq!(key.open_with(place, &digest, &mut sealed, "vector").unwrap(), plain);
            }
            parts_seen += 1;
        }
    }
    assert_eq!(parts_seen, 24);
}

fn some_key(suite: Suite) -> ObjectKey {
    let binding = Binding { suite, object_type: ObjectType::Archive, epoch: 3, repository: [5; 16], object: [6; 16] };
    ObjectKey::new(&Secret::take(&mut [7; 32]), &[8; 32], &binding).unwrap()
}

const PLACE: Part = Part::Block { stream: 2, chunk: 9 };

#[test]
fn every_flipped_bit_and_every_truncation_is_refused_and_shows_no_plaintext() {
    for suite in Suite::ALL {
        let key = some_key(suite);
        let plain: Vec<u8> = (0..150).collect();
        let mut sealed = plain.clone();
        key.seal(PLACE, &mut sealed).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = key.open(PLACE, &mut altered, "block").unwrap_err();
            assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Seal)));
            assert!(!altered.windows(16).any(|window| plain.windows(16).any(|other| other == window)));
        }
        for length in 0..sealed.len() {
            assert!(key.open(PLACE, &mut sealed[..length].to_vec(), "block").is_err());
        }
        assert_eq!(key.open(PLACE, &mut sealed, "block").unwrap(), plain);
    }
}

#[test]
fn a_part_opens_only_where_it_was_sealed() {
    let parts = [
        PLACE,
        Part::Block { stream: 9, chunk: 2 },
        Part::Block { stream: 2, chunk: 9 << 32 },
        Part::IndexBlock(9),
        Part::Directory,
        Part::Metadata,
        Part::Body,
    ];
    for suite in Suite::ALL {
        let key = some_key(suite);
        for sealed_at in parts {
            let mut sealed = vec![1; 40];
            key.seal(sealed_at, &mut sealed).unwrap();
            for opened_at in parts {
                assert_eq!(key.open(opened_at, &mut sealed.clone(), "part").is_ok(), sealed_at == opened_at);
            }
            assert!(key.open_with(sealed_at, &[0; 32], &mut sealed.clone(), "part").is_err());
        }
        let (key, mut bound) = (some_key(suite), vec![1; 40]);
        key.seal_with(Part::Directory, &[1; 32], &mut bound).unwrap();
        assert!(key.open_with(Part::Directory, &[2; 32], &mut bound.clone(), "part").is_err());
        assert!(key.open(Part::Directory, &mut bound, "part").is_err());
    }
}

#[test]
fn another_suite_place_epoch_salt_or_root_is_another_commitment() {
    let (root, salt) = (Secret::take(&mut [1; 32]), [2; 32]);
    let own = Binding {
        suite: Suite::Aes256Gcm,
        object_type: ObjectType::Archive,
        epoch: 1,
        repository: [3; 16],
        object: [4; 16],
    };
    let others = [
        Binding { suite: Suite::ChaCha20Poly1305, ..own },
        Binding { object_type: ObjectType::Record, ..own },
        Binding { epoch: 2, ..own },
        Binding { repository: [4; 16], ..own },
        Binding { object: [3; 16], ..own },
    ];
    let commitment = *ObjectKey::new(&root, &salt, &own).unwrap().commitment();
    assert!(ObjectKey::committed(&root, &salt, &own, &commitment, "x").is_ok());
    let refused = |root: &Secret, salt: &[u8; 32], binding: &Binding, commitment: &[u8; 32]| {
        let error = ObjectKey::committed(root, salt, binding, commitment, "archive").unwrap_err();
        assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Seal)));
    };
    for other in others {
        refused(&root, &salt, &other, &commitment);
    }
    refused(&Secret::take(&mut [9; 32]), &salt, &own, &commitment);
    for bit in 0..256 {
        let (mut altered_salt, mut altered) = (salt, commitment);
        altered_salt[bit / 8] ^= 1 << (bit % 8);
        altered[bit / 8] ^= 1 << (bit % 8);
        refused(&root, &altered_salt, &own, &commitment);
        refused(&root, &salt, &own, &altered);
    }
}

#[test]
fn no_two_parts_of_100_000_objects_share_key_and_nonce() {
    let root = Secret::random().unwrap();
    let places = [PLACE, Part::IndexBlock(0), Part::Directory, Part::Metadata, Part::Block { stream: 0, chunk: 0 }];
    let nonces: HashSet<_> = places.map(Part::nonce).into_iter().collect();
    assert_eq!(nonces.len(), places.len());
    let mut keys = HashSet::new();
    for _ in 0..100_000 {
        let salt: [u8; 32] = crate::seal::random().unwrap();
        let (key, commitment) = derive_pair(&root, &salt, Purpose::Object, &[0; 44]);
        assert!(keys.insert(*key.expose()) && *key.expose() != commitment);
    }
}

fn second_opinion(suite: Suite, key: &[u8; 32], nonce: &[u8; 12], message: &[u8], associated: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: message, aad: associated };
    match suite {
        Suite::Aes256Gcm => aes_gcm::Aes256Gcm::new(key.into()).encrypt(nonce.into(), payload).unwrap(),
        Suite::ChaCha20Poly1305 => {
            chacha20poly1305::ChaCha20Poly1305::new(key.into()).encrypt(nonce.into(), payload).unwrap()
        }
    }
}

proptest! {
    #[test]
    fn sealing_agrees_with_rustcrypto(
        root: [u8; 32], salt: [u8; 32], epoch: u32, repository: [u8; 16], object: [u8; 16], stream: u16, chunk: u64,
        message in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        for suite in Suite::ALL {
            let binding = Binding { suite, object_type: ObjectType::Archive, epoch, repository, object };
            let mut context = Vec::from(suite.number().to_le_bytes());
            context.extend([1, 0]);
            context.extend(epoch.to_le_bytes());
            context.extend(repository.iter().chain(&object).chain(&[0; 4]));
            let (key, _) = derive_pair(&Secret::take(&mut root.clone()), &salt, Purpose::Object, &context);
            let own = ObjectKey::new(&Secret::take(&mut root.clone()), &salt, &binding).unwrap();
            let part = Part::Block { stream, chunk };
            let mut sealed = message.clone();
            own.seal(part, &mut sealed).unwrap();
            let expected = second_opinion(suite, key.expose(), &part.nonce(), &message, &own.associated_data(part));
            prop_assert_eq!(&sealed, &expected);
            prop_assert_eq!(own.open(part, &mut sealed, "x").unwrap(), &message[..]);
        }
    }
}
