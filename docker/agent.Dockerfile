# The gateway agent: one static binary, no shell, no root.
#   docker build -f docker/agent.Dockerfile -t weir-agent .
FROM rust:1-bookworm AS build
WORKDIR /source
COPY . .
# Without a libc to load: the binary is all there is in the image.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --locked --release --target x86_64-unknown-linux-gnu -p weir-agent \
 && mkdir -p /image/data \
 && cp target/x86_64-unknown-linux-gnu/release/weir-agent /image/weir-agent

FROM scratch
COPY --from=build --chown=65532:65532 /image/ /
USER 65532:65532
VOLUME /data
# Admin: /health, /metrics, /frames, /status. Gateways listen on the ports that their artifacts name.
EXPOSE 1988
ENTRYPOINT ["/weir-agent"]
CMD ["run", "--data", "/data", "--admin", "0.0.0.0:1988"]
