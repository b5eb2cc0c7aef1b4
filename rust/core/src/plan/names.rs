//! Names that become paths at restore (spec 8): hostile until checked.

use crate::error::{Error, Layer, Result};
use crate::limits;

const DEVICE_NAMES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];

/// One path component: what a document, an attachment and each part of a member name must be.
///
/// # Errors
/// `Damaged` at layer `Plan`.
pub fn check_component(name: &str) -> Result<()> {
    let fault = if name.is_empty() || name == "." || name == ".." {
        "is not a file name"
    } else if name.len() > limits::NAME_COMPONENT_BYTES_MAX {
        "is longer than 255 bytes"
    } else if name.contains(['/', '\\', ':']) || name.chars().any(char::is_control) {
        "has a separator, a colon or a control character"
    } else if is_device(name) {
        "is a device name on Windows"
    } else {
        return Ok(());
    };
    Err(refused(name, fault))
}

/// A relative path of checked components.
///
/// # Errors
/// `Damaged` at layer `Plan`.
pub fn check_member_name(name: &str) -> Result<()> {
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(refused(name, "is longer than 4,096 bytes"));
    }
    name.split('/').try_for_each(check_component)
}

fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end();
    if DEVICE_NAMES.iter().any(|device| stem.eq_ignore_ascii_case(device)) {
        return true;
    }
    let (Some(head), Some(tail)) = (stem.get(..3), stem.get(3..)) else { return false };
    let numbered = tail.len() == 1 && tail.bytes().all(|byte| (b'1'..=b'9').contains(&byte));
    numbered && (head.eq_ignore_ascii_case("COM") || head.eq_ignore_ascii_case("LPT"))
}

fn refused(name: &str, fault: &str) -> Error {
    let shown: String = name.chars().take(80).collect();
    Error::damaged(Layer::Plan, format!("name {shown:?}"), format!("{fault}; nothing is written under such a name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_devices_are_refused() {
        for bad in ["", ".", "..", "a/b", "a\\b", "C:", "a\0b", "nul", "NUL.txt", "com1", "Lpt9.bin", "a\nb", "aux .x"]
        {
            assert!(check_component(bad).is_err(), "{bad:?}");
        }
        for bad in ["../x", "/etc/passwd", "a//b", "a/../b", "a/", "a/./b"] {
            assert!(check_member_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_component(&"x".repeat(256)).is_err());
    }

    #[test]
    fn ordinary_names_pass() {
        for good in ["index.faiss", "com10", "commit", "ü", ".hidden", "a b", "..."] {
            assert!(check_component(good).is_ok(), "{good:?}");
        }
        assert!(check_member_name("shards/0/index.bin").is_ok());
    }
}
