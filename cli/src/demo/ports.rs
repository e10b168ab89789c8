//! A block of free loopback ports, so that demos beside each other do not meet.

use std::net::{Ipv4Addr, TcpListener};

/// Ports of one block.
const SIZE: u16 = 64;
/// First port of the first block; below the range from which systems give out ports.
const FIRST: u16 = 20_000;
/// Number of blocks.
const BLOCKS: u16 = 180;
/// How many of a block are for gateways.
const GATEWAYS: u16 = 16;

/// A block of ports that were free a moment ago.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    first: u16,
}

impl Block {
    /// Looks from a place that depends on the process, so that two demos begin at different ones.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let offset = std::process::id() % u32::from(BLOCKS);
        let offset = u16::try_from(offset).expect("less than the number of blocks");
        (0..BLOCKS)
            .map(|step| FIRST + (offset + step) % BLOCKS * SIZE)
            .find(|first| (*first..first + SIZE).all(is_free))
            .map(|first| Self { first })
            .ok_or_else(|| anyhow::anyhow!("no block of {SIZE} free loopback ports was found"))
    }

    /// The port of the external gateway.
    pub(crate) fn external(self) -> u16 {
        self.first
    }

    /// For gateways that ask for no port.
    pub(crate) fn gateways(self) -> (u16, u16) {
        (self.first + 1, self.first + GATEWAYS - 1)
    }

    /// For instances.
    pub(crate) fn instances(self) -> (u16, u16) {
        (self.first + GATEWAYS, self.first + SIZE - 1)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Block, is_free};

    #[test]
    fn the_parts_do_not_overlap() {
        let block = Block::find().unwrap();
        assert!(is_free(block.external()));
        assert!(block.external() < block.gateways().0);
        assert!(block.gateways().1 < block.instances().0);
        assert_eq!(block.instances().1 - block.external(), 63);
    }
}
