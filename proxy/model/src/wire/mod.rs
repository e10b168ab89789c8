//! Frozen forms of a snapshot. A form never changes meaning; a new one gets a new module.

pub mod v1;
