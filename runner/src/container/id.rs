//! Ids of containers: 64 hexadecimal digits, 12 of them shown.

use crate::error::{Error, Result};
use crate::types::hex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Read;

/// An id; its text is checked, so it is safe as a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// A new one, random.
    pub fn new() -> Result<Self> {
        let path = "/dev/urandom";
        let mut bytes = [0_u8; 32];
        std::fs::File::open(path)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(Error::io("read", path))?;
        Ok(Self(hex(&bytes)))
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(digit) {
            return Ok(Self(text));
        }
        Err("an id has 64 hexadecimal digits")
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_are_ids() {
        let id = Id::new().unwrap();
        assert_eq!(Id::try_from(id.as_str().to_owned()).unwrap(), id);
        assert_eq!(id.short().len(), 12);
        for bad in ["", "..", "../../etc", &"g".repeat(64), &"A".repeat(64)] {
            assert!(Id::try_from(bad.to_owned()).is_err());
        }
    }
}
