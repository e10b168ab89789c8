//! Words that nobody but their owner may read.

use std::{convert::Infallible, fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

/// A token or a password. It stays out of logs, and is compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Any text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether this is it. How long that takes says nothing about the secret.
    pub fn is(&self, text: &[u8]) -> bool {
        let (mine, other) = (Sha256::digest(self.0.as_bytes()), Sha256::digest(text));
        mine.iter()
            .zip(other.iter())
            .fold(0, |difference, (mine, other)| difference | (mine ^ other))
            == 0
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn it_is_itself_and_stays_out_of_logs() {
        let secret = Secret::new("open sesame");
        assert!(secret.is(b"open sesame"));
        for other in [&b""[..], b"open sesam", b"open sesame ", b"Open sesame"] {
            assert!(!secret.is(other));
        }
        assert!(!format!("{secret:?}").contains("sesame"));
    }
}
