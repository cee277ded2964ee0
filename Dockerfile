# The sidecar beside BIRD. BIRD's group must be able to read what it writes, and it must be able to use BIRD's socket:
# run it with the group of BIRD's container, `--user 10179:<gid>`, runAsGroup in a pod.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG UV=0.13.9
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
 && python3 -m venv /uv && /uv/bin/pip install --no-cache-dir "uv==${UV}"
WORKDIR /src
# Dependencies change seldom, and then rarely with the code: a layer of their own.
COPY pyproject.toml uv.lock ./
ENV UV_PROJECT_ENVIRONMENT=/opt/rrwatch UV_PYTHON=/usr/bin/python3 UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1
RUN /uv/bin/uv sync --frozen --no-dev --no-install-project
COPY README.md LICENSE ./
COPY rrwatch rrwatch
COPY templates templates
RUN /uv/bin/uv sync --frozen --no-dev --no-editable
# birdc is for the operator's hands; the daemons of its package are not wanted here.
RUN cd /tmp && apt-get download bird && dpkg -x bird_*.deb /bird

FROM ${BASE}
LABEL org.opencontainers.image.title="rrwatch" \
      org.opencontainers.image.description="Keeps BIRD's BGP sessions equal to what Calico's keys in etcd ask for" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libreadline8 python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt
COPY --from=build /bird/usr/sbin/birdc /bird/usr/sbin/birdc6 /usr/sbin/
COPY --from=build /opt/rrwatch /opt/rrwatch
# The guard's baseline: a volume here outlives the container.
RUN install -d -m 775 -o 10179 -g 10179 /var/lib/rrwatch
ENV PATH=/opt/rrwatch/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 10179:10179
# The loop is alive: an etcd or a BIRD that is away is no reason to restart this container.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["rrwatch", "status", "--health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rrwatch"]
CMD ["run"]
