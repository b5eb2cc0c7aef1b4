//! Names that become files when they are restored or extracted (spec 8): hostile until checked here.

use crate::limits::{NAME_BYTES_MAX, NAME_COMPONENT_BYTES_MAX};
use crate::stream::StreamRole;

const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
const NUMBERED_DEVICES: [&str; 2] = ["COM", "LPT"];

/// True for a name that may be a component of a path: spec 8, NAME.
pub fn component_is_safe(name: &str) -> bool {
    let forbidden = |byte: u8| byte < 0x20 || byte == 0x7F || matches!(byte, b'/' | b'\\' | b':');
    !matches!(name, "" | "." | "..")
        && name.len() <= NAME_COMPONENT_BYTES_MAX
        && !name.bytes().any(forbidden)
        && !is_device(name)
}

/// True for a relative path of safe components.
pub fn path_is_safe(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.split('/').all(component_is_safe)
}

/// Windows opens the device whatever the case and the extension: `con`, `Com1.txt`.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    if DEVICES.iter().any(|device| stem.eq_ignore_ascii_case(device)) {
        return true;
    }
    let (Some(kind), Some([digit])) = (stem.get(..3), stem.as_bytes().get(3..)) else {
        return false;
    };
    (b'1'..=b'9').contains(digit) && NUMBERED_DEVICES.iter().any(|device| kind.eq_ignore_ascii_case(device))
}

/// Streams of attachments and documents are named after the file they become.
pub fn stream_is_safe(role: StreamRole, name: &str) -> bool {
    let prefix = match role {
        StreamRole::DOCUMENT => "document/",
        StreamRole::ATTACHMENT => "attachment/",
        _ => return true,
    };
    // One that is not found by its prefix is never extracted under its name.
    name.strip_prefix(prefix).is_none_or(component_is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_or_open_a_device_are_not_safe() {
        for name in ["", ".", "..", "a/b", "a\\b", "c:", "nul", "Con.txt", "COM1", "lpt9.tar.gz", "a\nb", "a\0", "\x7F"]
        {
            assert!(!component_is_safe(name), "{name:?}");
        }
        for name in ["...", "a", ".hidden", "com0", "com10", "console", "über", "nul_", "conx.txt", "€", "€1", "com€"]
        {
            assert!(component_is_safe(name), "{name:?}");
        }
        assert!(component_is_safe(&"x".repeat(255)) && !component_is_safe(&"x".repeat(256)));
    }

    #[test]
    fn paths_stay_below_their_folder() {
        for bad in ["../x", "/etc/passwd", "a//b", "a/../b", "a/", "a/./b", "C:/x", ""] {
            assert!(!path_is_safe(bad), "{bad:?}");
        }
        assert!(path_is_safe("shards/0/index.bin"));
    }

    #[test]
    fn only_streams_that_become_files_are_bound() {
        assert!(!stream_is_safe(StreamRole::DOCUMENT, "document/../x"));
        assert!(!stream_is_safe(StreamRole::ATTACHMENT, "attachment/"));
        assert!(stream_is_safe(StreamRole::ATTACHMENT, "attachment/x.pdf"));
        assert!(stream_is_safe(StreamRole::VECTORS, "document/../x"));
    }
}
