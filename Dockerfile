# The server and its command line, and nothing else. deploy/test-image.sh builds and tries it.
#
#   docker build -t tiffin .
#   docker run -d -p 7410:7410 -v tiffin-data:/data tiffin

ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
# The packages and BoringSSL's source: a layer that changes only with setup.sh.
ENV TIFFIN_BORINGSSL_SOURCE=/opt/boringssl
COPY deploy/setup.sh deploy/
RUN deploy/setup.sh
COPY . .
ARG JOBS=
RUN --mount=type=cache,target=/root/.cache/ccache \
    cmake --preset release -DTIFFIN_BUILD_TESTS=OFF && \
    cmake --build --preset release -j "${JOBS:-$(nproc)}" && \
    cmake --install build/release --strip --prefix /opt/tiffin

FROM ${BASE}
RUN apt-get update && \
    apt-get install -y --no-install-recommends \
      ca-certificates libabsl20220623 libgrpc++1.51 libhdf5-103-1 libhdf5-cpp-103-1 libjemalloc2 \
      libprometheus-cpp-pull1.0 libprotobuf32 libspdlog1.10 libsqlite3-0 libxxhash0 && \
    apt-get clean && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/tiffin/bin/tiffin-server /opt/tiffin/bin/tiffin /usr/local/bin/
# All that is written is written here. Any user id may own it, so any may use a fresh volume.
RUN tiffin-server --version && tiffin --version && mkdir -m 1777 /data
VOLUME /data
USER 10001:10001
ENV TIFFIN_DATA=/data TIFFIN_LISTEN=0.0.0.0:7410
EXPOSE 7410
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["tiffin", "health"]
ENTRYPOINT ["tiffin-server"]
