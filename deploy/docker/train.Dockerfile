# A run's own process, its learner ranks and rollout workers, and every node of a Ray cluster for it. torch's wheels
# bring CUDA; the host brings the driver and the NVIDIA Container Toolkit.
#
#     docker build -f deploy/docker/train.Dockerfile -t couplet-train .
#
# With vLLM (rollout.backend: vllm):
#
#     docker build -f deploy/docker/train.Dockerfile --build-arg LOCK=train-vllm.lock -t couplet-train-vllm .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
# Where a site's packages come from. Arguments of this stage are not in the image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Which packages: train.lock, or train-vllm.lock.
ARG LOCK=train.lock
WORKDIR /src
COPY deploy/docker/build.lock deploy/docker/sbom.lock deploy/docker/${LOCK} deploy/docker/
# DeepSpeed has no wheel. Its build finds setuptools in the environment that it is built for.
RUN python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/venv \
    && /opt/build/bin/pip install --require-hashes -r deploy/docker/build.lock \
    && /opt/build/bin/pip install --require-hashes --no-deps --only-binary :all: -r deploy/docker/sbom.lock \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --require-hashes -r deploy/docker/build.lock \
    && /opt/build/bin/pip --python /opt/venv/bin/python install --require-hashes --no-deps --no-build-isolation \
        --only-binary :all: --no-binary deepspeed -r deploy/docker/${LOCK}
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
LABEL org.opencontainers.image.title="couplet-train" \
      org.opencontainers.image.description="Couplet's learner, rollout workers and run, and the Ray that carries them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# g++: torch.compile and Triton. wget: the probes that KubeRay gives to Ray's pods. Debian keeps only its newest
# builds, so pinned versions would soon not be found.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ wget \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 couplet \
    && useradd --uid 10001 --gid 10001 --no-log-init --create-home --shell /bin/bash couplet \
    # Group 0 may write too: clusters such as OpenShift run images under a user of their own in that group.
    && install -d -o couplet -g 0 -m 2775 /runs /home/couplet/.cache /home/couplet/.cache/huggingface \
    && chgrp 0 /home/couplet && chmod g=u /home/couplet
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/couplet /opt/couplet
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
WORKDIR /home/couplet
USER 10001:10001
ENTRYPOINT ["couplet"]
CMD ["--help"]
