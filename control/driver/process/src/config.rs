//! What the driver is told, and why it may not open.

use std::{io, ops::RangeInclusive, path::PathBuf, time::Duration};

use thiserror::Error;

/// Ports of instances unless configured: below the range from which Linux takes the ports of outgoing
/// connections (32768 to 60999), so that no connection of this host gets in the way.
pub const DEFAULT_INSTANCE_PORTS: RangeInclusive<u16> = 31_000..=32_700;

/// Default of [`Config::stop_grace`].
pub const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(30);

/// How to open a [`ProcessDriver`](crate::ProcessDriver).
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of the driver; made if it is missing. One driver at a time.
    pub state_dir: PathBuf,
    /// Whose instances these are; instances of other namespaces in the folder are left alone.
    pub namespace: String,
    /// Name or address under which instances are reached, and checked.
    pub host: String,
    /// Ports given to instances.
    pub instance_ports: RangeInclusive<u16>,
    /// Longest grace that a stop may give, whatever its caller asks.
    pub stop_grace: Duration,
    /// Whether processors and memory of the scale are limits for instances that do not say it themselves
    /// (argument `limits`), as far as this process may make control groups.
    pub limits: bool,
}

impl Config {
    /// Defaults: 127.0.0.1, [`DEFAULT_INSTANCE_PORTS`], [`DEFAULT_STOP_GRACE`], no limits.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>, namespace: impl Into<String>) -> Config {
        Config {
            state_dir: state_dir.into(),
            namespace: namespace.into(),
            host: "127.0.0.1".to_owned(),
            instance_ports: DEFAULT_INSTANCE_PORTS,
            stop_grace: DEFAULT_STOP_GRACE,
            limits: false,
        }
    }
}

/// Why a driver could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file or folder could not be made or read.
    #[error("cannot use {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has the folder open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// `/proc` could not be read.
    #[error("cannot read /proc, by which processes are told apart")]
    Proc(#[source] io::Error),
    /// Not called from within a tokio runtime.
    #[error("the driver needs a tokio runtime")]
    Runtime,
}
