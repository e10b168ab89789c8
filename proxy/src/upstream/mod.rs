//! Connections to instances: made, kept for the next request, given up.

mod connect;
mod http2;
mod link;
mod pool;
mod preamble;

pub(crate) use self::{
    connect::establish,
    http2::Sessions,
    link::Link,
    pool::Pool,
    preamble::{Preamble, Preambles, Secured},
};
