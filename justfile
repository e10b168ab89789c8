# Everything that CI does, in pieces.

check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

test:
    tests/run

demo:
    cargo run --release -- demo

bench:
    cargo bench -p weir-benches
