//! Connections to instances: made, kept for the next request, given up.

mod connect;
mod link;
mod pool;
mod preamble;

pub(crate) use self::{
    connect::establish,
    link::Link,
    pool::Pool,
    preamble::{Preamble, Preambles},
};
