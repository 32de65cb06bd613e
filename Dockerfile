# Both bases are arguments, so that the image can be built offline on local ones:
#   docker build --build-arg BUILD_BASE=local/rust --build-arg RUN_BASE=local/debian-slim .
# RUN_BASE must not have an older C library than BUILD_BASE.
ARG BUILD_BASE=docker.io/library/rust:1.95-slim-bookworm
ARG RUN_BASE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_BASE} AS build
WORKDIR /build
COPY . .
# The cache outlives a build; the binary is copied out of it in the same step, because later steps do not see it. The crates
# have no such cache: it would hide those that a local base brings with it.
RUN --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin tidegate \
    && cp target/release/tidegate /usr/local/bin/tidegate
# Whom Tidegate trusts when it asks others over https; a slim base has no certificates of its own.
RUN mkdir -p /certificates \
    && if [ -e /etc/ssl/certs/ca-certificates.crt ]; then cp /etc/ssl/certs/ca-certificates.crt /certificates/; fi

FROM ${RUN_BASE}
# Fixed numbers of user and group, so that a mounted volume can be given to them and Kubernetes can check runAsNonRoot.
ARG UID=10001
RUN groupadd --system --gid ${UID} tidegate \
    && useradd --system --uid ${UID} --gid ${UID} --no-create-home --shell /usr/sbin/nologin tidegate \
    && install --directory --owner=tidegate --group=tidegate --mode=0750 \
        /etc/tidegate /run/tidegate /var/lib/tidegate
COPY --from=build /usr/local/bin/tidegate /usr/local/bin/tidegate
COPY --from=build /certificates/ /etc/ssl/certs/
COPY config/tidegate.toml /etc/tidegate/tidegate.toml
USER ${UID}:${UID}
EXPOSE 8080
VOLUME ["/var/lib/tidegate"]
ENV TIDEGATE_SOCKET=/run/tidegate/admin.sock
# TERM drains; the engine must wait longer than process.shutdown_timeout before it kills.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["tidegate", "status", "--json"]
ENTRYPOINT ["tidegate"]
CMD ["run", "-c", "/etc/tidegate/tidegate.toml"]
