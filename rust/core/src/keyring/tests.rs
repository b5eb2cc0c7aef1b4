#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::error::ErrorKind;
use crate::seal::{Identity, RecoveryCode, Ways};

const REPOSITORY: [u8; 16] = [7; 16];
const NOW: u64 = 1_700_000_000_000;

struct Person {
    identity: Identity,
}

impl Person {
    fn new() -> Self {
        Self { identity: Identity::random().unwrap() }
    }

    fn way(&self) -> Ways {
        ways(&[self], None)
    }

    fn secrets(&self) -> Secrets {
        Secrets { identities: vec![self.identity.clone()], ..Secrets::default() }
    }
}

fn ways(people: &[&Person], recovery: Option<&RecoveryCode>) -> Ways {
    let recipients = people.iter().map(|person| person.identity.recipient()).collect();
    Ways { recipients, recovery: recovery.cloned(), ..Ways::default() }
}

fn first(add: Ways) -> Generation {
    let empty = Keyring::create(REPOSITORY, Suite::Aes256Gcm, NOW).unwrap();
    empty.next(1, NOW, Change { add, label: "laptop".to_owned(), ..Change::default() }, &[]).unwrap()
}

fn slots_of(generation: &Generation) -> Vec<SlotObject> {
    let number = generation.keyring.generation;
    generation.slots.iter().map(|(_, object)| parse_slot(object, &REPOSITORY, number).unwrap()).collect()
}

fn open(generation: &Generation, secrets: &Secrets) -> Result<OpenKeyring> {
    let number = generation.keyring.generation;
    Keyring::open(REPOSITORY, Suite::Aes256Gcm, number, &generation.object, &slots_of(generation), secrets)
}

#[test]
fn every_way_opens_the_same_keyring_and_says_who_vouches() {
    let (anna, code) = (Person::new(), RecoveryCode::random().unwrap());
    let made = first(ways(&[&anna], Some(&code)));
    let by_identity = open(&made, &anna.secrets()).unwrap();
    assert_eq!(by_identity.anchor, None);
    let by_code = open(&made, &Secrets { recovery: Some(code), ..Secrets::default() }).unwrap();
    assert_eq!(by_code.anchor.as_ref(), Some(made.keyring.authority()));
    for opened in [by_identity, by_code] {
        assert_eq!(opened.keyring.fingerprint_key(), made.keyring.fingerprint_key());
        assert_eq!(opened.keyring.root_of(1).unwrap(), made.keyring.root_of(1).unwrap());
        assert_eq!(opened.keyring.name_tag("products"), made.keyring.name_tag("products"));
        assert_eq!(opened.keyring.labels.values().next().map(String::as_str), Some("laptop"));
    }
    let stranger = open(&made, &Person::new().secrets()).unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::WrongKey);
    assert_eq!(open(&made, &Secrets::default()).unwrap_err().kind(), ErrorKind::KeyNeeded);
}

#[test]
fn who_is_removed_opens_nothing_that_comes_later_and_the_others_do() {
    let (anna, ben, code) = (Person::new(), Person::new(), RecoveryCode::random().unwrap());
    let made = first(ways(&[&anna, &ben], Some(&code)));
    let bens = made.keyring.slots[1].slot.clone();
    let change = Change { remove: vec![bens.clone()], ..Change::default() };
    let next = made.keyring.next(2, NOW + 1, change, &slots_of(&made)).unwrap();
    assert_eq!(open(&next, &ben.secrets()).unwrap_err().kind(), ErrorKind::WrongKey);
    let opened = open(&next, &anna.secrets()).unwrap().keyring;
    assert_eq!(opened.epochs.len(), 2);
    assert_ne!(opened.root_of(1).unwrap(), opened.root_of(2).unwrap());
    assert_ne!(opened.authority(), made.keyring.authority());
    assert!(opened.is_endorsed_by(made.keyring.authority()));
    assert!(!made.keyring.is_endorsed_by(opened.authority()));
    // The code's slot still vouches for the authority of its day, which leads to the one of today.
    let by_code = open(&next, &Secrets { recovery: Some(code), ..Secrets::default() }).unwrap();
    assert!(by_code.keyring.is_endorsed_by(&by_code.anchor.unwrap()));
    let twice = Change { remove: vec![bens], ..Change::default() };
    assert_eq!(opened.next(3, NOW, twice, &slots_of(&next)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let nobody = Change { remove: opened.slots.iter().map(|name| name.slot.clone()).collect(), ..Change::default() };
    assert_eq!(opened.next(3, NOW, nobody, &slots_of(&next)).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn a_chain_of_authorities_is_followed_and_a_broken_one_is_not() {
    let (anna, mut others) = (Person::new(), Vec::new());
    let mut made = first(ways(&[&anna, &Person::new()], None));
    let start = *made.keyring.authority();
    for number in 2..6 {
        let gone = made.keyring.slots.last().unwrap().slot.clone();
        let change = Change { remove: vec![gone], add: Person::new().way(), ..Change::default() };
        made = made.keyring.next(number, NOW, change, &slots_of(&made)).unwrap();
        others.push(*made.keyring.authority());
    }
    let opened = open(&made, &anna.secrets()).unwrap().keyring;
    assert_eq!(opened.epochs.len(), 5);
    assert!(opened.is_endorsed_by(&start) && others.iter().all(|known| opened.is_endorsed_by(known)));
    assert!(!opened.is_endorsed_by(&[1; 32]));
    let mut broken = opened.clone();
    broken.endorsements.remove(1);
    assert!(!broken.is_endorsed_by(&start));
    assert!(broken.is_endorsed_by(&others[2]));
}

#[test]
fn every_changed_byte_of_a_keyring_object_and_every_truncation_is_refused() {
    let anna = Person::new();
    let made = first(anna.way());
    let refused = |object: &[u8]| {
        let opened = Keyring::open(REPOSITORY, Suite::Aes256Gcm, 1, object, &slots_of(&made), &anna.secrets());
        opened.map(|_| ()).unwrap_err()
    };
    let mut object = made.object.clone();
    for at in 0..object.len() {
        for bit in [1, 128] {
            object[at] ^= bit;
            assert!(matches!(refused(&object).kind(), ErrorKind::Damaged | ErrorKind::Unsupported), "byte {at}");
            object[at] ^= bit;
        }
        assert_eq!(refused(&object[..at]).kind(), ErrorKind::Damaged);
    }
    let other = first(anna.way());
    assert_eq!(refused(&other.object).kind(), ErrorKind::Damaged, "slots and keyring of two generations");
}

#[test]
fn a_record_opens_in_its_place_only() {
    let made = first(Person::new().way());
    let keys = &made.keyring;
    let record = keys.new_record([1; 16]).unwrap();
    let seal = record.seal;
    let data = record.seal(&[9; 32], b"{\"name\":\"products\"}").unwrap();
    let opened = |keys: &Keyring, seal: &RecordSeal, id, digest: &[u8; 32]| {
        let mut data = data.clone();
        keys.open_record(seal, id, digest, &mut data).map(|body| body.to_vec())
    };
    assert_eq!(opened(keys, &seal, [1; 16], &[9; 32]).unwrap(), b"{\"name\":\"products\"}");
    let other = first(Person::new().way()).keyring;
    let elsewhere = RecordSeal { salt: [3; 32], ..seal };
    let weaker = RecordSeal { suite: Suite::ChaCha20Poly1305, ..seal };
    let faults = [
        opened(keys, &seal, [2; 16], &[9; 32]),
        opened(keys, &seal, [1; 16], &[8; 32]),
        opened(&other, &seal, [1; 16], &[9; 32]),
        opened(keys, &elsewhere, [1; 16], &[9; 32]),
        opened(keys, &weaker, [1; 16], &[9; 32]),
    ];
    for fault in faults {
        assert_eq!(fault.unwrap_err().kind(), ErrorKind::Damaged);
    }
    let later = RecordSeal { root: Root::Epoch(2), ..seal };
    assert_eq!(opened(keys, &later, [1; 16], &[9; 32]).unwrap_err().kind(), ErrorKind::WrongKey);
}

#[test]
fn nothing_of_a_key_is_shown() {
    let made = first(Person::new().way());
    let shown = format!("{:?} {:?}", made.keyring, made.keyring.epochs);
    for secret in [made.keyring.fingerprint_key(), made.keyring.root_of(1).unwrap().expose()] {
        assert!(!shown.contains(&crate::seal::hex(secret)) && !shown.contains(&format!("{secret:?}")));
    }
}
