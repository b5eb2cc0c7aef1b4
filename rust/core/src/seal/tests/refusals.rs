//! Wrong secrets and hostile slots: the right kind, quickly, and no secret in any text.

use std::time::{Duration, Instant};

use super::slots::CHEAP;
use crate::error::{ErrorKind, Layer};
use crate::limits::{ARGON2_MEMORY_KIB_MAX, PASSPHRASE_SLOTS_TRIED_MAX, SLOTS_MAX};
use crate::seal::{
    Argon2Cost, Binding, Identity, ObjectKey, ObjectType, Opened, Recipient, RecoveryCode, Secret, Slot, SlotKind,
    Suite, Unlock, new_slot, open_slots,
};

fn slot_of(kind: SlotKind<'_>) -> Slot {
    new_slot(kind, &Secret::take(&mut [1; 32]), &[0; 16], &[2; 32]).unwrap()
}

fn refusal(slots: &[Slot], unlocks: &[Unlock<'_>]) -> crate::error::Error {
    open_slots(slots, unlocks, &[0; 16]).map(|_: Opened| ()).unwrap_err()
}

#[test]
fn nothing_given_and_the_wrong_thing_given_are_told_apart() {
    let (identity, code) = (Identity::random().unwrap(), RecoveryCode::random().unwrap());
    let slots = [slot_of(SlotKind::Passphrase(b"right", CHEAP)), slot_of(SlotKind::Recipient(identity.recipient()))];
    assert_eq!(refusal(&slots, &[]).kind(), ErrorKind::KeyNeeded);
    assert_eq!(refusal(&slots, &[Unlock::Recovery(&code)]).kind(), ErrorKind::KeyNeeded);
    assert_eq!(refusal(&slots[1..], &[Unlock::Passphrase(b"right")]).kind(), ErrorKind::KeyNeeded);
    let wrong = Identity::random().unwrap();
    for unlock in [Unlock::Passphrase(b"wrong"), Unlock::Identity(&wrong)] {
        let error = refusal(&slots, &[unlock]);
        assert_eq!(error.kind(), ErrorKind::WrongKey);
        assert!(error.to_string().ends_with("slots: 1 passphrase, 1 recipient"), "{error}");
    }
    assert_eq!(refusal(&slots, &[Unlock::Passphrase(b"")]).kind(), ErrorKind::InvalidArgument);
    assert_eq!(refusal(&slots, &[Unlock::Passphrase(&[1; 1025])]).kind(), ErrorKind::InvalidArgument);
    let another_repository = open_slots(&slots, &[Unlock::Passphrase(b"right")], &[1; 16]).map(|_| ()).unwrap_err();
    assert_eq!(another_repository.kind(), ErrorKind::Damaged);
}

#[test]
fn hostile_slots_are_refused_at_once() {
    let good = slot_of(SlotKind::Passphrase(b"right", CHEAP));
    let costs = [
        (ARGON2_MEMORY_KIB_MAX + 1, 1, 1),
        (u32::MAX, 1, 1),
        (8_191, 1, 1),
        (0, 1, 1),
        (8_192, 0, 1),
        (8_192, 65, 1),
        (8_192, u32::MAX, 1),
        (8_192, 1, 0),
        (8_192, 1, 17),
        (ARGON2_MEMORY_KIB_MAX, 5, 1),
    ];
    type Change = fn(&mut Slot);
    let changes: [Change; 9] = [
        |slot| slot.slot = "g".repeat(32),
        |slot| slot.slot.push('0'),
        |slot| slot.recipient = "age1qqqq".into(),
        |slot| slot.recipient = slot.recipient.to_uppercase(),
        |slot| slot.wrapped = "A".repeat(4_100),
        |slot| slot.wrapped = "not base64".into(),
        |slot| slot.proof = Some("0".repeat(64)),
        |slot| slot.proof = None,
        |slot| slot.argon2id = None,
    ];
    let costly = costs.map(|(memory_kib, passes, lanes)| {
        let mut slot = good.clone();
        let fields = slot.argon2id.as_mut().unwrap();
        (fields.memory_kib, fields.passes, fields.lanes) = (memory_kib, passes, lanes);
        assert!(Argon2Cost { memory_kib, passes, lanes }.check("x").is_err());
        slot
    });
    let broken = changes.map(|change| {
        let mut slot = good.clone();
        change(&mut slot);
        slot
    });
    let started = Instant::now();
    for slot in costly.iter().chain(&broken) {
        let error = refusal(std::slice::from_ref(slot), &[Unlock::Passphrase(b"right")]);
        assert_eq!((error.kind(), error.layer()), (ErrorKind::Damaged, Some(Layer::Seal)), "{slot:?}");
        // One that opens makes up for it.
        let mut other = good.clone();
        other.slot = slot_of(SlotKind::Recipient(Identity::random().unwrap().recipient())).slot;
        let both = [slot.clone(), good.clone()];
        if slot.slot != good.slot {
            assert!(open_slots(&both, &[Unlock::Passphrase(b"right")], &[0; 16]).is_ok());
        }
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(refusal(&[], &[]).layer(), Some(Layer::Seal));
    assert_eq!(refusal(&[good.clone(), good.clone()], &[]).layer(), Some(Layer::Seal));
    assert_eq!(refusal(&vec![good; SLOTS_MAX + 1], &[]).layer(), Some(Layer::Seal));
}

#[test]
fn many_passphrase_slots_cost_a_bounded_time() {
    let slots: Vec<Slot> = (0..SLOTS_MAX).map(|_| slot_of(SlotKind::Passphrase(b"right", CHEAP))).collect();
    let one = Instant::now();
    assert!(open_slots(&slots[..1], &[Unlock::Passphrase(b"right")], &[0; 16]).is_ok());
    let one = one.elapsed();
    let all = Instant::now();
    assert_eq!(refusal(&slots, &[Unlock::Passphrase(b"wrong")]).kind(), ErrorKind::WrongKey);
    let runs = u32::try_from(PASSPHRASE_SLOTS_TRIED_MAX).unwrap();
    assert!(all.elapsed() < one * runs * 3, "{one:?} {:?}", all.elapsed());
}

#[test]
fn points_of_small_order_are_refused() {
    for share in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let kind = SlotKind::Recipient(Recipient(share));
        assert_eq!(
            new_slot(kind, &Secret::take(&mut [1; 32]), &[0; 16], &[2; 32]).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    }
}

#[test]
fn recovery_codes_survive_blanks_and_case_but_no_typing_error() {
    let code = RecoveryCode::random().unwrap();
    let shown = code.reveal();
    assert_eq!(RecoveryCode::parse(&shown).unwrap(), code);
    assert_eq!(RecoveryCode::parse(&format!("  {}\n", shown.to_lowercase().replace('-', " "))).unwrap(), code);
    for (at, typed) in shown.char_indices().filter(|(_, typed)| *typed != '-') {
        let other = if typed == 'Q' { 'P' } else { 'Q' };
        let mistaken = format!("{}{other}{}", &shown[..at], &shown[at + 1..]);
        let error = RecoveryCode::parse(&mistaken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(!error.to_string().contains(&mistaken[20..40]));
    }
    assert!(RecoveryCode::parse("").is_err() && RecoveryCode::parse(&"q".repeat(5000)).is_err());
}

#[test]
fn identity_files_are_read_strictly() {
    let identity = Identity::random().unwrap();
    let line = identity.reveal();
    let file = format!("# made today\n\n{}\r\n{}\n", &*line, &*line);
    assert_eq!(Identity::parse_file(file.as_bytes()).unwrap(), [identity.clone(), identity.clone()]);
    for wrong in ["", "# only this\n", &line.to_lowercase(), &line[1..], &format!("{}x", &*line), "age1x"] {
        let error = Identity::parse_file(wrong.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(wrong.len() < 40 || !error.to_string().contains(&wrong[20..40]));
    }
    assert!(Identity::parse_file(&[b'#'; 65_537]).is_err());
}

#[test]
fn nothing_shows_a_secret() {
    let secret = Secret::take(&mut [0xAB; 32]);
    let binding = Binding {
        suite: Suite::Aes256Gcm,
        object_type: ObjectType::Archive,
        epoch: 0,
        repository: [0; 16],
        object: [0; 16],
    };
    let key = ObjectKey::new(&secret, &[0; 32], &binding).unwrap();
    let shown = format!(
        "{secret:?} {:?} {:?} {key:?}",
        Identity::from_secret(secret.clone()),
        RecoveryCode::from_secret(secret.clone())
    );
    assert_eq!(shown, "Secret(…) Identity(Secret(…)) RecoveryCode(Secret(…)) ObjectKey(…)");
}

#[test]
fn taking_a_secret_wipes_where_it_was() {
    let mut bytes = [7; 32];
    let secret = Secret::take(&mut bytes);
    assert_eq!((bytes, *secret.expose()), ([0; 32], [7; 32]));
}
