//! Shares of traffic in parts per ten thousand.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

/// A share was over 10 000 parts (100 %).
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0} is more than 10000 parts per ten thousand (100%)")]
pub struct PartsPerTenThousandError(pub u64);

macro_rules! share {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $type(u16);

        impl $type {
            /// Nothing.
            pub const ZERO: Self = Self(0);
            /// Everything: 10 000 parts, 100 %.
            pub const FULL: Self = Self(10_000);

            /// From parts per ten thousand, 0 to 10 000.
            ///
            /// # Errors
            /// [`PartsPerTenThousandError`] above 10 000.
            pub fn from_parts(parts: u64) -> Result<Self, PartsPerTenThousandError> {
                match u16::try_from(parts) {
                    Ok(parts @ 0..=10_000) => Ok(Self(parts)),
                    _ => Err(PartsPerTenThousandError(parts)),
                }
            }

            /// From whole percent, 0 to 100: the outside form (Vamp: `50%`).
            ///
            /// # Errors
            /// [`PartsPerTenThousandError`] above 100 %.
            pub fn from_percent(percent: u64) -> Result<Self, PartsPerTenThousandError> {
                Self::from_parts(percent.saturating_mul(100))
            }

            /// Parts per ten thousand, 0 to 10 000.
            pub const fn parts(self) -> u16 {
                self.0
            }

            /// Whether it is nothing.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        /// Prints as percent with up to two decimals: `80%`, `33.33%`.
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (whole, rest) = (self.0 / 100, self.0 % 100);
                match rest {
                    0 => write!(f, "{whole}%"),
                    rest if rest % 10 == 0 => write!(f, "{whole}.{}%", rest / 10),
                    rest => write!(f, "{whole}.{rest:02}%"),
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::from_parts(u64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

share!(
    /// Share of a gateway's traffic that a route receives. The weights of a gateway's routes total
    /// 10 000 or are all zero.
    Weight
);
share!(
    /// Share of the *matching* requests that a condition sends to its route; the rest falls to the weights.
    ConditionStrength
);

#[cfg(test)]
mod tests {
    use super::Weight;

    #[test]
    fn prints_as_percent() {
        for (parts, text) in [
            (0, "0%"),
            (8000, "80%"),
            (3333, "33.33%"),
            (3330, "33.3%"),
            (5, "0.05%"),
        ] {
            assert_eq!(Weight::from_parts(parts).expect("in range").to_string(), text);
        }
    }

    #[test]
    fn refuses_more_than_everything() {
        assert!(Weight::from_parts(10_001).is_err());
        assert!(Weight::from_percent(101).is_err());
        assert!(Weight::from_percent(u64::MAX).is_err());
        assert_eq!(Weight::from_percent(100), Ok(Weight::FULL));
    }
}
