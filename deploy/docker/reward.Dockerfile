# The reward service: programs in, verdicts out. No torch, no Ray. docs/images.md tells what it may be denied.
#
#     docker build -f deploy/docker/reward.Dockerfile -t couplet-reward .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# Where a site's packages come from. Arguments of this stage are not in the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY deploy/docker/build.lock deploy/docker/sbom.lock deploy/docker/reward.lock deploy/docker/
# One environment builds, with pip and setuptools; the one that goes into the image has neither.
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/venv \
    && /opt/build/bin/pip install --require-hashes -r deploy/docker/build.lock \
    && /opt/build/bin/pip install --require-hashes --no-deps --only-binary :all: -r deploy/docker/sbom.lock \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --require-hashes --no-deps --only-binary :all: \
        -r deploy/docker/reward.lock
COPY . .
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --no-deps --no-index /wheels/*.whl \
    && mkdir /opt/couplet \
    && ln -s /opt/venv/lib/python3.*/site-packages/recipes /opt/couplet/recipes \
    && /opt/build/bin/cyclonedx-py environment --no-validate --output-reproducible \
        --output-file /opt/couplet/sbom.cdx.json /opt/venv/bin/python

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="couplet-reward" \
      org.opencontainers.image.description="Couplet's reward service: runs programs that models wrote and judges them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 couplet \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /opt/couplet --shell /bin/false couplet
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/couplet /opt/couplet
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /opt/couplet
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/readyz', timeout=8)"]
ENTRYPOINT ["couplet"]
CMD ["serve-rewards", "--host", "0.0.0.0"]
