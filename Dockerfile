# The proxy in a container. docs/operations.md says how to run it:
#
#     docker build -t overlord .
#     docker run --network host -v ./clusters.toml:/etc/overlord/clusters.toml:ro overlord

FROM python:3.13-slim-bookworm AS build
# hadolint ignore=DL3008  # a compiler of the distribution of the day; nothing of it stays
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m venv /opt/overlord \
    && python -m pip wheel --no-cache-dir --wheel-dir /wheels . \
    && /opt/overlord/bin/python -m pip install --no-cache-dir --no-index --find-links /wheels overlord
# Without its compiled parts the proxy would run, and slowly. And Twisted notes down its plugins now, for
# the user of the container may not write there.
WORKDIR /opt/overlord
RUN /opt/overlord/bin/python -c "import overlord.net.hub" \
    && /opt/overlord/bin/twistd --help >/dev/null

FROM python:3.13-slim-bookworm
COPY --from=build /opt/overlord /opt/overlord
# Nobody's, and no name has to be made for it.
USER 65532:65532
WORKDIR /tmp
EXPOSE 7000 2110
# SIGTERM lets replies go out for `drain_timeout` (10 s): docker stop --time 20.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/opt/overlord/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:2110/healthz', timeout=2)"]
ENTRYPOINT ["/opt/overlord/bin/twistd", "--nodaemon", "--pidfile=", "overlord-proxy"]
CMD ["--cluster", "/etc/overlord/clusters.toml", "--stat", "127.0.0.1:2110"]
