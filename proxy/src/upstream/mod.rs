//! Connections to instances: made, kept for the next request, given up.

mod connect;
mod pool;

pub(crate) use self::{connect::establish, pool::Pool};
