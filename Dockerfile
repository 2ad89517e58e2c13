# The image: the binary, certificates and a C library; no shell. Dependencies are compiled in a layer of their own, which
# lasts until Cargo.toml or Cargo.lock changes. Only ordinary layers, no cache mounts: the layer caches of CI and of hosting
# platforms keep those, and Railway refuses other mounts than its own, and VOLUME, too.

# The compiler of rust-toolchain.toml: the build ends if they differ. For a mirror, --build-arg BUILD_IMAGE=… and
# --build-arg RUN_IMAGE=…; both are of the same Debian release, so that the C library fits.
ARG RUST_VERSION=1.95.0
ARG BUILD_IMAGE=docker.io/library/rust:${RUST_VERSION}-bookworm
ARG RUN_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
ARG RUST_VERSION
# What is not built in otherwise: parquet.
ARG FEATURES=""
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# The compiler that the image brings: rust-toolchain.toml would make rustup fetch clippy and rustfmt, too.
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
WORKDIR /src

# The dependencies, with a crate of ours that is empty. Cargo wants a file for each bench that has no path.
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
RUN grep -qF "\"${RUST_VERSION}\"" rust-toolchain.toml \
        || { echo "RUST_VERSION=${RUST_VERSION} is not the channel of rust-toolchain.toml" >&2; exit 1; }; \
    mkdir -p src benches; \
    touch src/lib.rs; \
    echo 'fn main() {}' >src/main.rs; \
    sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p' Cargo.toml | xargs -I% cp src/main.rs benches/%.rs; \
    cargo build --profile dist --locked --features "${FEATURES}"; \
    rm -r src benches

# Our crate. Cargo compares times, and what is copied may be older than what was empty: hence touch. The empty binary says
# nothing, so what has a version is the right one. The last stage has no shell, so its folder for the store is made here.
COPY . .
RUN touch src/lib.rs src/main.rs; \
    cargo build --profile dist --locked --features "${FEATURES}"; \
    test -n "$(target/dist/candlewick --version)"; \
    mkdir -p /rootfs/data

FROM ${RUN_IMAGE}
# The default store, sqlite://data/candlewick.db, is in /data from here: mount a volume there. Where DATABASE_URL is set, it
# stays empty. And /candlewick.toml is the configuration, if it is there.
WORKDIR /
COPY --from=build --chown=65532:65532 /rootfs /
COPY --from=build /src/target/dist/candlewick /usr/local/bin/candlewick
# By number, so that Kubernetes sees that it is not root.
USER 65532:65532
# PORT=n means 0.0.0.0:n; platforms set their own.
ENV PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/local/bin/candlewick", "health"]
ENTRYPOINT ["/usr/local/bin/candlewick"]
