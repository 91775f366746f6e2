//! Detach keys: the key strokes that let go of a container's terminal.

use crate::error::{Error, Result};

/// The keys unless told otherwise: ctrl-p, ctrl-q.
const USUAL: &[u8] = &[0x10, 0x11];

/// A sequence of keys to look for in what is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    wanted: Vec<u8>,
    /// How many of them were typed just now, and are kept back.
    seen: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            wanted: USUAL.to_vec(),
            seen: 0,
        }
    }
}

impl Keys {
    /// The value of `--detach-keys`: keys with commas between, each one character or
    /// `ctrl-` and one of `a-z @ [ \ ] ^ _`; nothing for the usual ones.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let wanted = text.split(',').map(key).collect::<Option<_>>();
        let wanted = wanted.ok_or_else(|| Error::Value {
            flag: "--detach-keys",
            value: text.to_owned(),
            why: "want keys as ctrl-p,ctrl-q: a character, or ctrl- and one of a-z @ [ \\ ] ^ _"
                .to_owned(),
        })?;
        Ok(Self { wanted, seen: 0 })
    }

    /// Looks through what was typed. Gives what is to be handed on, and whether the sequence is
    /// complete; what comes after it is dropped.
    pub(super) fn look(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            // Begins anew as late as possible: keys a, a, b are found in a a a b.
            while self.seen > 0 && self.wanted.get(self.seen) != Some(&byte) {
                let kept = self.wanted.get(..self.seen).unwrap_or_default();
                let shorter = (0..self.seen)
                    .rev()
                    .find(|&n| kept.get(self.seen - n..) == self.wanted.get(..n))
                    .unwrap_or(0);
                passed.extend_from_slice(kept.get(..self.seen - shorter).unwrap_or_default());
                self.seen = shorter;
            }
            if self.wanted.get(self.seen) == Some(&byte) {
                self.seen += 1;
                if self.seen == self.wanted.len() {
                    return (passed, true);
                }
            } else {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

fn key(text: &str) -> Option<u8> {
    if let [single] = text.as_bytes() {
        return Some(*single);
    }
    match text.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => {
            Some(letter.to_ascii_uppercase() & 0x1f)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(Keys::parse("").unwrap().wanted, [0x10, 0x11]);
        assert_eq!(
            Keys::parse("ctrl-a,x,ctrl-@,ctrl-_").unwrap().wanted,
            [1, b'x', 0, 0x1f]
        );
        for bad in ["ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-é"] {
            assert!(Keys::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn found_across_reads_and_nothing_else_is_kept() {
        let mut keys = Keys::parse("a,a,b").unwrap();
        assert_eq!(keys.look(b"xa"), (b"x".to_vec(), false));
        assert_eq!(keys.look(b"ya"), (b"ay".to_vec(), false));
        assert_eq!(keys.look(b"aa"), (b"a".to_vec(), false));
        assert_eq!(keys.look(b"bz"), (Vec::new(), true));
        let mut usual = Keys::default();
        assert_eq!(usual.look(b"\x10"), (Vec::new(), false));
        assert_eq!(usual.look(b"\x10x"), (b"\x10\x10x".to_vec(), false));
    }
}
