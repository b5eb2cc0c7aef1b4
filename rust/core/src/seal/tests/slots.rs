//! Slots, age files, session roots: known answers, and files of the age tools.

use base64ct::{Base64, Encoding};

use super::{AGE_FILES, AGE_TESTKIT, DERIVATIONS, bytes, number, secret, text, unhex, vectors};
use crate::seal::age;
use crate::seal::{
    Argon2Cost, EpochRecipient, Identity, Recipient, RecoveryCode, Secret, Slot, SlotKind, Unlock, check_single_anchor,
    epoch_identity, new_slot, open_slots, single_anchor, unwrap_session_root,
};

pub(super) const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 8_192, passes: 1, lanes: 1 };

#[test]
fn slots_of_the_vectors_open() {
    for case in vectors(DERIVATIONS)["slots"].as_array().unwrap() {
        let slot: Slot = serde_json::from_value(case["slot"].clone()).unwrap();
        let (repository, opens) = (bytes::<16>(case, "repository"), text(case, "opens"));
        let identity = Identity::parse(opens).ok();
        let code = RecoveryCode::parse(opens).ok();
        let unlock = match (slot.slot_type.as_str(), &identity, &code) {
            ("recipient", Some(identity), _) => Unlock::Identity(identity),
            ("recovery", _, Some(code)) => Unlock::Recovery(code),
            _ => Unlock::Passphrase(opens.as_bytes()),
        };
        let opened = open_slots(std::slice::from_ref(&slot), &[unlock], &repository).unwrap();
        assert!(opened.access_key == secret(case, "access_key"));
        assert_eq!(opened.anchor.is_some(), slot.slot_type != "recipient");
        if repository == [0; 16] {
            check_single_anchor(&opened).unwrap();
        }
    }
}

#[test]
fn a_new_slot_of_each_type_opens_and_can_be_rewrapped_without_its_secret() {
    let (access_key, next, repository, anchor) =
        (Secret::random().unwrap(), Secret::random().unwrap(), [3; 16], [4; 32]);
    let (identity, code, kms) =
        (Identity::random().unwrap(), RecoveryCode::random().unwrap(), Secret::random().unwrap());
    let fields = crate::seal::KmsFields { key: "k".into(), provider: "p".into(), wrapped: "AA==".into() };
    let kinds = [
        SlotKind::Passphrase(b"pass", CHEAP),
        SlotKind::Recipient(identity.recipient()),
        SlotKind::Recovery(&code),
        SlotKind::Kms { slot: [9; 16], secret: &kms, fields },
    ];
    let slots = kinds.map(|kind| new_slot(kind, &access_key, &repository, &anchor).unwrap());
    let again = slots.clone().map(|slot| slot.rewrapped(&next).unwrap());
    for (number, unlock) in [
        Unlock::Passphrase(b"pass"),
        Unlock::Identity(&identity),
        Unlock::Recovery(&code),
        Unlock::Kms { slot: [9; 16], secret: &kms },
    ]
    .into_iter()
    .enumerate()
    {
        let unlocks = [unlock];
        let opened = open_slots(&slots, &unlocks, &repository).unwrap();
        assert!(opened.access_key == access_key && opened.slot == number);
        assert_eq!(opened.anchor, (number != 1).then_some(anchor));
        assert!(open_slots(&again, &unlocks, &repository).unwrap().access_key == next);
        // Through its JSON.
        let read: Vec<Slot> = serde_json::from_str(&serde_json::to_string(&slots).unwrap()).unwrap();
        assert_eq!(read, slots);
    }
}

#[test]
fn files_of_the_age_tools_open() {
    let files = vectors(AGE_FILES);
    for case in files.as_array().unwrap() {
        let identities = Identity::parse_file(text(case, "identity_file").as_bytes()).unwrap();
        assert_eq!(identities[0].recipient().to_string(), text(case, "recipient"));
        assert_eq!(Recipient::parse(text(case, "recipient")).unwrap(), identities[0].recipient());
        assert!(text(case, "identity_file").contains(identities[0].reveal().as_str()));
        let file = Base64::decode_vec(text(case, "file")).unwrap();
        let opened = age::unwrap(&file, &identities[0], "file").unwrap();
        assert_eq!(opened.expose().to_vec(), unhex(text(case, "plain")));
        assert!(age::unwrap(&file, &Identity::random().unwrap(), "file").is_err());
    }
    assert_eq!(files.as_array().unwrap().len(), 2);
}

#[test]
fn age_vectors_are_read_as_the_age_specification_says() {
    let mut seen = [0, 0];
    for case in vectors(AGE_TESTKIT).as_array().unwrap() {
        let file = Base64::decode_vec(text(case, "file")).unwrap();
        let identities = case["identities"].as_array().unwrap();
        let found = identities.iter().filter_map(|identity| {
            let identity = Identity::parse(identity.as_str().unwrap()).ok()?;
            age::file_key_of(&file, &identity).ok()
        });
        let found: Vec<_> = found.collect();
        // What fails in the payload has a header that is right.
        let is_right = ["success", "payload failure"].contains(&text(case, "expect"));
        assert_eq!(!found.is_empty(), is_right, "{}", text(case, "name"));
        if let (Some(found), Some(_)) = (found.first(), case["file_key"].as_str()) {
            assert_eq!(*found, bytes::<16>(case, "file_key"));
        }
        seen[usize::from(is_right)] += 1;
    }
    assert!(seen[0] >= 20 && seen[1] >= 5, "{seen:?}");
}

#[test]
fn every_flipped_bit_of_a_wrapped_key_is_refused() {
    let identity = Identity::random().unwrap();
    let draw = age::Draw::random().unwrap();
    let access_key = Secret::random().unwrap();
    let file = age::wrap(&access_key, &identity.recipient(), &draw).unwrap();
    assert!(age::unwrap(&file, &identity, "slot").unwrap() == access_key);
    for bit in 0..file.len() * 8 {
        let mut altered = file.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        // The top bit of an X25519 point means nothing to RFC 7748, but the salt has it.
        assert!(age::unwrap(&altered, &identity, "slot").is_err(), "bit {bit}");
    }
    for length in 0..file.len() {
        assert!(age::unwrap(&file[..length], &identity, "slot").is_err());
    }
}

#[test]
fn session_roots_are_those_of_the_vectors_and_open_for_members_only() {
    let vectors = vectors(DERIVATIONS);
    let case = &vectors["session"];
    let (repository, epoch) = (bytes::<16>(case, "repository"), u32::try_from(number(case, "epoch")).unwrap());
    let identity = epoch_identity(&secret(case, "epoch_root"), &repository, epoch);
    assert_eq!(identity.recipient().to_string(), text(case, "recipient"));
    let recipient = EpochRecipient { repository, epoch, recipient: identity.recipient() };
    let ephemeral = Identity::from_secret(secret(case, "ephemeral"));
    let wrapped = recipient.wrap(&secret(case, "session_root"), &ephemeral).unwrap();
    assert_eq!(wrapped.to_vec(), unhex(text(case, "wrapped")));
    let opened = unwrap_session_root(&wrapped, &identity, &repository, epoch).unwrap();
    assert!(opened == secret(case, "session_root"));

    assert!(unwrap_session_root(&wrapped, &identity, &repository, epoch + 1).is_err());
    assert!(unwrap_session_root(&wrapped, &identity, &[0; 16], epoch).is_err());
    assert!(unwrap_session_root(&wrapped, &Identity::random().unwrap(), &repository, epoch).is_err());
    for bit in 0..wrapped.len() * 8 {
        let mut altered = wrapped;
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(unwrap_session_root(&altered, &identity, &repository, epoch).is_err());
    }
}

#[test]
fn a_single_archive_is_not_fooled_by_a_slot_of_another() {
    let (own, other) = (Secret::random().unwrap(), Secret::random().unwrap());
    let slot = new_slot(SlotKind::Passphrase(b"pass", CHEAP), &own, &[0; 16], &single_anchor(&own)).unwrap();
    let forged = slot.rewrapped(&other).unwrap();
    let open = |slot: &Slot| open_slots(std::slice::from_ref(slot), &[Unlock::Passphrase(b"pass")], &[0; 16]).unwrap();
    check_single_anchor(&open(&slot)).unwrap();
    assert!(check_single_anchor(&open(&forged)).unwrap_err().to_string().contains("another archive"));
}
