//! Known answers, refusals, and a second implementation.
#![expect(clippy::unwrap_used, reason = "tests")]

mod objects;
mod refusals;
mod slots;

use serde_json::Value;

const DERIVATIONS: &str = include_str!("../../../../../spec/vectors/seal/derivations.json");
const AGE_TESTKIT: &str = include_str!("../../../../../spec/vectors/seal/age-testkit.json");
const AGE_FILES: &str = include_str!("../../../../../spec/vectors/seal/age-files.json");

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn bytes<const COUNT: usize>(value: &Value, key: &str) -> [u8; COUNT] {
    unhex(text(value, key)).try_into().unwrap()
}

fn secret(value: &Value, key: &str) -> super::Secret {
    super::Secret::take(&mut bytes(value, key))
}
