# rrwatch as the sidecar of a BIRD; deploy/README.md tells how to build and run it.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS runtime
# A proxy that intercepts TLS: its certificate is the secret `ca`, and stays out of the image.
RUN --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    apt="apt-get" && [ ! -e /run/ca.pem ] || apt="apt-get -o Acquire::https::CAInfo=/run/ca.pem" \
 && $apt update \
 && $apt install -y --no-install-recommends ca-certificates libreadline8 python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/ldconfig/aux-cache /var/log/apt /var/log/dpkg.log

FROM runtime AS build
ARG UV=0.13.9
# A mirror of the Python package index.
ARG INDEX_URL
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
RUN --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    apt="apt-get" && [ ! -e /run/ca.pem ] || apt="apt-get -o Acquire::https::CAInfo=/run/ca.pem" \
 && [ ! -e /run/ca.pem ] || cat /run/ca.pem >>/etc/ssl/certs/ca-certificates.crt \
 && $apt update \
 && $apt install -y --no-install-recommends python3-venv \
 && python3 -m venv /uv && /uv/bin/pip install --no-cache-dir ${INDEX_URL:+--index-url "$INDEX_URL"} "uv==${UV}" \
 && cd /tmp && $apt download bird && dpkg -x bird_*.deb /bird
WORKDIR /src
# The byte code holds without a time stamp: layers may be given another one.
ENV UV_PYTHON=/usr/bin/python3 UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 \
    UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH
# Dependencies change seldom, and then rarely with the code: a layer of their own. By hash, so that any index will do.
COPY pyproject.toml uv.lock ./
RUN /uv/bin/uv venv -q /opt/rrwatch \
 && /uv/bin/uv export -q --frozen --no-dev --no-emit-project -o /tmp/locked.txt \
 && /uv/bin/uv pip install -q --python /opt/rrwatch --require-hashes -r /tmp/locked.txt \
        ${INDEX_URL:+--default-index "$INDEX_URL"} \
 && rm -f /opt/rrwatch/.lock
# What a wheel is made of: .dockerignore names it. uv notes when it was installed, which would make each build another.
COPY . .
RUN /uv/bin/uv pip install -q --python /opt/rrwatch --no-deps ${INDEX_URL:+--default-index "$INDEX_URL"} . \
 && cd /opt/rrwatch && rm -f .lock lib/python3*/site-packages/rrwatch-*.dist-info/uv_cache.json \
 && sed -i '/uv_cache.json/d' lib/python3*/site-packages/rrwatch-*.dist-info/RECORD

FROM runtime
ARG REVISION
LABEL org.opencontainers.image.title="rrwatch" \
      org.opencontainers.image.description="Keeps BIRD's BGP sessions equal to what Calico's keys in etcd ask for" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# For the operator's hands; it speaks with every BIRD. The daemons of its package are not wanted here.
COPY --from=build /bird/usr/sbin/birdc /bird/usr/sbin/birdc6 /usr/sbin/
COPY --from=build /opt/rrwatch /opt/rrwatch
# Shared with BIRD: its configuration and its control socket. Last, what must outlive the container.
RUN echo "rrwatch:x:10179:10179:rrwatch:/var/lib/rrwatch:/usr/sbin/nologin" >>/etc/passwd \
 && echo "rrwatch:x:10179:" >>/etc/group \
 && install -d -m 2770 -o 10179 -g 10179 /etc/bird /run/bird /var/lib/rrwatch
ENV PATH=/opt/rrwatch/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER 10179:10179
# The loop is alive: an etcd or a BIRD that is away is no reason to restart this container.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["rrwatch", "status", "--health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["rrwatch"]
CMD ["run"]
