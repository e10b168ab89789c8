//! Ports for gateways that name none.

use std::{collections::BTreeSet, ops::RangeInclusive};

use thiserror::Error;

/// Every port of the range is used (Vamp: `NoAvailablePortError`).
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no port is free between {} and {}", .0.start(), .0.end())]
pub struct Exhausted(pub RangeInclusive<u16>);

/// Gives out ports: the lowest free one after the last that was given, from the start again at the end.
/// So a port that was just freed is not given to somebody else at once, and the order does not depend
/// on anything but the arguments.
#[derive(Clone, Debug)]
pub struct PortRange {
    range: RangeInclusive<u16>,
    used: BTreeSet<u16>,
    last: Option<u16>,
}

impl PortRange {
    /// `used`: ports that must not be given, in the range or not. `last`: the port given last, if any.
    pub fn new(range: RangeInclusive<u16>, used: impl IntoIterator<Item = u16>, last: Option<u16>) -> Self {
        Self {
            last: last.filter(|last| range.contains(last)),
            used: used.into_iter().collect(),
            range,
        }
    }

    /// Gives the next port.
    ///
    /// # Errors
    /// [`Exhausted`] when every port of the range is used.
    pub fn assign(&mut self) -> Result<u16, Exhausted> {
        let (start, end) = (*self.range.start(), *self.range.end());
        let after = self.last.map_or(start, |last| last.saturating_add(1));
        let port = (after..=end)
            .chain(start..after.min(end.saturating_add(1)))
            .find(|port| *port != 0 && self.range.contains(port) && !self.used.contains(port))
            .ok_or_else(|| Exhausted(self.range.clone()))?;
        self.used.insert(port);
        self.last = Some(port);
        Ok(port)
    }

    /// Marks a port as used.
    pub(crate) fn take(&mut self, port: u16) {
        self.used.insert(port);
    }

    /// The port given last, to be stored.
    pub fn last(&self) -> Option<u16> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::PortRange;

    #[test]
    fn gives_the_lowest_free_port_after_the_last() {
        let mut ports = PortRange::new(40_000..=40_003, [40_001], None);
        assert_eq!(ports.assign(), Ok(40_000));
        assert_eq!(ports.assign(), Ok(40_002));
        assert_eq!(ports.last(), Some(40_002));
    }

    #[test]
    fn begins_again_at_the_start_and_then_is_exhausted() {
        let mut ports = PortRange::new(40_000..=40_003, [40_001], Some(40_002));
        assert_eq!(ports.assign(), Ok(40_003));
        assert_eq!(ports.assign(), Ok(40_000));
        assert_eq!(ports.assign(), Ok(40_002));
        let exhausted = ports.assign().unwrap_err();
        assert_eq!(exhausted.to_string(), "no port is free between 40000 and 40003");
    }

    #[test]
    fn a_last_port_of_another_range_does_not_matter() {
        let mut ports = PortRange::new(50_000..=50_001, [], Some(40_000));
        assert_eq!(ports.assign(), Ok(50_000));
        let mut top = PortRange::new(65_535..=65_535, [], Some(65_535));
        assert_eq!(top.assign(), Ok(65_535));
        assert!(top.assign().is_err());
    }
}
