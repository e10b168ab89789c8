# The control service: one static binary. The base has a shell since the process driver may be asked to use one.
#   docker build -f docker/control.Dockerfile -t weir-control .
FROM rust:1-bookworm AS build
WORKDIR /source
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --locked --release --target x86_64-unknown-linux-gnu -p weir-control -p weir

FROM debian:bookworm-slim
RUN useradd --system --uid 65532 --home-dir /data --create-home weir
COPY --from=build /source/target/x86_64-unknown-linux-gnu/release/weir-control /source/target/x86_64-unknown-linux-gnu/release/weir /usr/local/bin/
USER weir
VOLUME /data
EXPOSE 8080
ENTRYPOINT ["weir-control"]
CMD ["run", "--data", "/data", "--listen", "0.0.0.0:8080"]
