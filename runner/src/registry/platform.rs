//! Kinds of machines: which image of several fits.

use crate::image::architecture;
use std::fmt;

/// `OS/ARCHITECTURE[/VARIANT]` in Go's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v7`, `v8`; empty for any.
    pub variant: String,
}

impl Platform {
    /// This machine's.
    pub fn own() -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture().to_owned(),
            variant: String::new(),
        }
    }

    /// Reads `OS/ARCHITECTURE[/VARIANT]`, or an architecture alone.
    ///
    /// # Errors
    /// What is wrong, and what is wanted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            let of_a_word =
                |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.' || b == b'-';
            !part.is_empty() && part.bytes().all(of_a_word)
        };
        let (os, architecture, variant) = match parts[..] {
            _ if !parts.iter().all(plain) => {
                return Err("want OS/ARCHITECTURE[/VARIANT]".to_owned());
            }
            [architecture] => ("linux", architecture, ""),
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => return Err("want OS/ARCHITECTURE[/VARIANT]".to_owned()),
        };
        let (architecture, variant) = match (architecture.to_lowercase().as_str(), variant) {
            ("x86_64" | "x86-64", variant) => ("amd64".to_owned(), variant),
            ("aarch64", variant) => ("arm64".to_owned(), variant),
            ("i386" | "i686", variant) => ("386".to_owned(), variant),
            ("armhf", "") => ("arm".to_owned(), "v7"),
            ("armel", "") => ("arm".to_owned(), "v6"),
            (other, variant) => (other.to_owned(), variant),
        };
        Ok(Self {
            os: os.to_lowercase(),
            architecture,
            variant: variant.to_owned(),
        })
    }

    /// How well something of another kind does here, more is better; `None` when not at all.
    pub fn fits(&self, other: &Self) -> Option<u32> {
        if self.os != other.os || self.architecture != other.architecture {
            return None;
        }
        if self.full_variant() == other.full_variant() {
            return Some(100);
        }
        // A younger ARM runs what is made for an older one.
        let number = |variant: &str| variant.strip_prefix('v')?.parse::<u32>().ok();
        match (number(self.full_variant()), number(other.full_variant())) {
            (Some(own), Some(others)) if self.architecture == "arm" => {
                (others < own).then_some(others)
            }
            _ if self.variant.is_empty() || other.variant.is_empty() => Some(50),
            _ => None,
        }
    }

    fn full_variant(&self) -> &str {
        match (self.architecture.as_str(), self.variant.as_str()) {
            ("arm64", "") => "v8",
            ("arm", "") => "v7",
            (_, variant) => variant,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("x86_64", "linux/amd64"),
            ("Linux/AARCH64/v8", "linux/arm64/v8"),
            ("linux/armhf", "linux/arm/v7"),
        ] {
            assert_eq!(Platform::parse(text).unwrap().to_string(), shown);
        }
        for bad in ["", "a/b/c/d", "linux/", "/x", "a b", "linux/é"] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_best_fit() {
        let fit = |own: &str, other: &str| {
            Platform::parse(own)
                .unwrap()
                .fits(&Platform::parse(other).unwrap())
        };
        assert_eq!(fit("linux/amd64", "linux/arm64"), None);
        assert_eq!(fit("linux/amd64", "windows/amd64"), None);
        assert_eq!(fit("linux/arm64", "linux/arm64/v8"), Some(100));
        assert!(fit("linux/arm/v7", "linux/arm/v6") > fit("linux/arm/v7", "linux/arm/v5"));
        assert!(fit("linux/arm", "linux/arm/v7") > fit("linux/arm", "linux/arm/v6"));
        assert_eq!(fit("linux/arm/v6", "linux/arm/v7"), None);
        assert!(fit("linux/amd64", "linux/amd64") > fit("linux/amd64", "linux/amd64/v2"));
    }
}
