# The image: the binary, certificates and a C library; no shell. Dependencies are compiled in a separate layer, which is
# reused until Cargo.toml or Cargo.lock changes. There are no cache mounts, because CI and hosting platforms cache
# ordinary layers only, and Railway rejects foreign mounts and VOLUME.

# The compiler of rust-toolchain.toml: the build fails if they differ. For mirrors, use --build-arg BUILD_IMAGE=… and
# --build-arg RUN_IMAGE=…; both must have the same Debian release, so that the C library matches.
ARG RUST_VERSION=1.95.0
ARG BUILD_IMAGE=docker.io/library/rust:${RUST_VERSION}-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
ARG RUST_VERSION
# Optional cargo features: parquet.
ARG FEATURES=""
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# Use the compiler of the image: rust-toolchain.toml would make rustup install clippy and rustfmt, too.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
WORKDIR /src

# Compile the dependencies with an empty crate. Cargo requires a file for each bench without a path.
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
RUN grep -qF "\"${RUST_VERSION}\"" rust-toolchain.toml \
        || { echo "RUST_VERSION=${RUST_VERSION} is not the channel of rust-toolchain.toml" >&2; exit 1; }; \
    mkdir -p src benches; \
    touch src/lib.rs; \
    echo 'fn main() {}' >src/main.rs; \
    sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml | xargs -I% cp src/main.rs benches/%.rs; \
    cargo build --profile dist --locked --features "${FEATURES}"; \
    rm -r src benches

# Compile the crate. Cargo compares modification times, and copied files may be older than the empty ones: hence touch.
# The empty binary prints nothing, so `--version` verifies that the real one was built. The last stage has no shell, so
# the store's folder is created here.
COPY . .
RUN touch src/lib.rs src/main.rs; \
    cargo build --profile dist --locked --features "${FEATURES}"; \
    test -n "$(target/dist/candlewick --version)"; \
    mkdir -p /rootfs/data

FROM ${RUN_IMAGE}
# The default store, sqlite://data/candlewick.db, is in /data: mount a volume there. With DATABASE_URL it stays empty.
# The configuration file is /candlewick.toml, if it exists.
WORKDIR /
COPY --from=build --chown=65532:65532 /rootfs /
COPY --from=build /src/target/dist/candlewick /usr/local/bin/candlewick
# Numeric, so that Kubernetes can verify that it is not root.
USER 65532:65532
# PORT=n listens on 0.0.0.0:n; platforms set their own.
ENV PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/local/bin/candlewick", "health"]
ENTRYPOINT ["/usr/local/bin/candlewick"]
