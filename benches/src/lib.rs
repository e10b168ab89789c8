//! Micro-benchmarks of the request path.
