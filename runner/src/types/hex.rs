//! Bytes as text.

use std::fmt::Write;

/// Two lower case hexadecimal digits for each byte.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // A String takes whatever is written.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
