//! The text of a token: `weir_ID_SECRET`, both in hexadecimal digits.
//!
//! The id (64 bits) finds the record and may be shown; the secret (256 bits) proves.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Begins every token, so that scanners of leaked secrets know one.
const PREFIX: &str = "weir";
/// Random bytes of an id.
const ID_BYTES: usize = 8;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// A token as its owner has it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    id: String,
    text: String,
}

/// What is kept of a token: SHA-256 of its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash([u8; 32]);

impl Token {
    /// A new one.
    pub(super) fn random() -> Result<Self, getrandom::Error> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        let id = hex::encode(id);
        let text = format!("{PREFIX}_{id}_{}", hex::encode(secret));
        Ok(Self { id, text })
    }

    /// Reads one; `None` if it cannot be a token.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (prefix, rest) = text.split_once('_')?;
        let (id, secret) = rest.split_once('_')?;
        let is_hex = |text: &str, bytes: usize| {
            text.len() == 2 * bytes && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        (prefix == PREFIX && is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then(|| Self {
            id: id.to_owned(),
            text: text.to_owned(),
        })
    }

    /// Finds its record.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The whole, for its owner alone.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// What is kept.
    pub(super) fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.text.as_bytes()).into())
    }
}

/// Secrets are not printed by accident.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}_{}_...)", self.id)
    }
}

impl Hash {
    /// As it is stored.
    pub(super) fn to_text(self) -> String {
        hex::encode(self.0)
    }

    /// As it was stored.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Whether they are the same; takes the same time whether or where they differ.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::{Hash, Token};

    #[test]
    fn a_token_reads_back_and_is_not_printed() {
        let token = Token::random().unwrap();
        assert_eq!(Token::read(token.text()), Some(token.clone()));
        assert_ne!(Token::random().unwrap(), token);
        let printed = format!("{token:?}");
        let secret = token.text().rsplit('_').next().unwrap();
        assert!(
            printed.contains(token.id()) && !printed.contains(secret),
            "{printed}"
        );
        let hash = Hash::read(&token.hash().to_text()).unwrap();
        assert!(hash.is(&token.hash()));
        assert!(!hash.is(&Token::random().unwrap().hash()));
    }

    #[test]
    fn what_cannot_be_a_token_is_none() {
        let good = Token::random().unwrap().text().to_owned();
        let upper = good.to_uppercase();
        let longer = format!("{good}0");
        let other = good.replacen("weir", "veir", 1);
        for wrong in ["", "_", "weir__", "weir_1_2", &upper, &longer, &other, "weir_é_é"] {
            assert_eq!(Token::read(wrong), None, "{wrong}");
        }
        assert!(Hash::read("00").is_none());
        assert!(Hash::read(&"zz".repeat(32)).is_none());
    }
}
