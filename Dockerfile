# syntax=docker/dockerfile:1
# One image is head, worker, submitter and driver; a second one, without PyTorch, is the MLflow server of infra/mlflow.
#   docker build -t raybench:0.1.0 .                                                 GPU (PyTorch's CUDA wheels)
#   docker build -t raybench:0.1.0-cpu --build-arg VARIANT=cpu --build-arg TORCH_INDEX_URL=... .   CPU only
#   docker build -t raybench-mlflow:0.1.0 --target mlflow .                          MLflow server
#   docker build --target reports --output reports .                                 SBOMs, pip-audit.json, verdict.txt
#   docker build --target audited .                                                  fails unless nothing is known
# For a build that repeats, give the base with its digest: --build-arg BASE_IMAGE=python:3.11.13-slim-bookworm@sha256:...
# A release also gives VERSION, REVISION (git rev-parse HEAD), CREATED (date -u +%FT%TZ) and SOURCE (the repository's URL).
# Where no engine is: infra/image/rehearse.py carries these instructions out in a clean root.
ARG BASE_IMAGE=python:3.11.13-slim-bookworm

FROM ${BASE_IMAGE} AS lists
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
# Only these: a change of the source leaves the layers of dependencies, of several GB, as they are.
COPY pyproject.toml requirements.lock infra/image/requirements.py ./
RUN python requirements.py project > project.txt \
    && python requirements.py mlflow server > mlflow.txt \
    && python requirements.py audit > audit.txt \
    && python requirements.py build > build.txt

FROM lists AS dependencies
ARG VARIANT=gpu
# Where PyTorch's CPU wheels are: only the CPU variant needs it. Their versions end in +cpu, which the lock's pins admit.
ARG TORCH_INDEX_URL=""
RUN python -m venv /opt/raybench
ENV PATH=/opt/raybench/bin:$PATH
# The cache is a mount, no layer.
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/root/.cache/pip \
    case "${VARIANT}" in \
      gpu) ;; \
      cpu) test -n "${TORCH_INDEX_URL}" || { echo "VARIANT=cpu needs --build-arg TORCH_INDEX_URL: where PyTorch's CPU wheels are." >&2; exit 2; }; \
           grep -E '^(torch|torchvision)==' requirements.lock > torch.txt; \
           pip install --no-deps --index-url "${TORCH_INDEX_URL}" -r torch.txt ;; \
      *) echo "VARIANT is '${VARIANT}'; expected gpu or cpu." >&2; exit 2 ;; \
    esac \
    && pip install -c requirements.lock -r project.txt

FROM lists AS mlflow-dependencies
RUN python -m venv /opt/mlflow
# hadolint ignore=DL3042
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/mlflow/bin/pip install -c requirements.lock -r mlflow.txt

FROM lists AS wheel
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir -c requirements.lock -r build.txt
COPY README.md LICENSE ./
COPY raybench ./raybench
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .

# The image itself is built without asking a service on the network, and a vulnerability that is published today does not
# stop a repair from being built. `reports` says what is known, `audited` stops a pipeline; neither is part of `runtime`.
FROM dependencies AS audit
RUN python -m venv /opt/audit && /opt/audit/bin/pip install --no-cache-dir -c requirements.lock -r audit.txt
COPY --from=mlflow-dependencies /opt/mlflow /opt/mlflow
COPY infra/image/verdict.py ./
# pip-audit ends with 1 where something is known, and verdict.py says what its report is worth.
RUN mkdir /reports \
    && /opt/audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-file /reports/sbom.json /opt/raybench/bin/python \
    && /opt/audit/bin/cyclonedx-py environment --output-file /reports/sbom-mlflow.json /opt/mlflow/bin/python \
    && { /opt/audit/bin/pip-audit --progress-spinner off --path /opt/raybench/lib/python3.*/site-packages --path /opt/mlflow/lib/python3.*/site-packages \
         --format json --output /reports/pip-audit.json || test -s /reports/pip-audit.json; } \
    && { python verdict.py /reports/pip-audit.json > /reports/verdict.txt; echo $? > /reports/verdict.exit; }

FROM scratch AS reports
COPY --from=audit /reports /

FROM audit AS audited
RUN cat /reports/verdict.txt && exit "$(cat /reports/verdict.exit)"

FROM ${BASE_IMAGE} AS base
# tini: as process 1 it passes signals on and buries the dead (KubeRay starts a shell of its own instead).
# wget: the health checks below, and KubeRay's probes for Ray before 2.53. Debian keeps one version of each at a time.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --user-group --create-home --shell /bin/bash raybench \
    && install -d -o 1000 -g 1000 /storage /cache
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/raybench \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=true
WORKDIR /home/raybench
ENTRYPOINT ["tini", "--"]

FROM base AS mlflow
COPY --from=mlflow-dependencies /opt/mlflow /opt/mlflow
ENV PATH=/opt/mlflow/bin:$PATH
USER 1000:1000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:5000/health"]
# On loopback, where the container's own health check asks; who opens it says so, and who may ask (infra/mlflow).
CMD ["mlflow", "server", "--host=127.0.0.1", "--port=5000", "--backend-store-uri=sqlite:////storage/mlflow.db", "--artifacts-destination=/storage/artifacts"]
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="raybench-mlflow" \
      org.opencontainers.image.description="MLflow server of raybench: PostgreSQL, S3, passwords" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"

FROM base AS runtime
COPY --from=dependencies /opt/raybench /opt/raybench
ENV PATH=/opt/raybench/bin:$PATH \
    HF_HOME=/cache/hub \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
# A layer of its own, of 13 MB: a new version of the source is not several GB to push and to pull.
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-deps --no-index --no-cache-dir /wheel/*.whl
USER 1000:1000
# The node's own agent. Kubernetes ignores this line and uses the probes of KubeRay.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:52365/api/local_raylet_healthz"]
CMD ["raybench", "--help"]
# Last, because what is after a changed argument is built anew.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="raybench" \
      org.opencontainers.image.description="Which pretrained vision backbone should I use?" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
