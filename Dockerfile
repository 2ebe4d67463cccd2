# syntax=docker/dockerfile:1
# Two images: `runtime` for Ray's head, workers, submitter and driver; `mlflow`, without PyTorch, for the server of infra/mlflow.
#   docker build -t raybench:0.1.0 .                                                 GPU (PyTorch's CUDA wheels)
#   docker build -t raybench:0.1.0-cpu --build-arg VARIANT=cpu --build-arg TORCH_INDEX_URL=... .   CPU only
#   docker build -t raybench-mlflow:0.1.0 --target mlflow .                          MLflow server
#   docker build --target reports --output reports .                                 SBOMs, pip-audit.json, verdict.txt
#   docker build --target audited .                                                  fails if a vulnerability is known
# For a reproducible build, pin the base by digest: --build-arg BASE_IMAGE=python:3.11.13-slim-bookworm@sha256:...
# A release also sets VERSION, REVISION (git rev-parse HEAD), CREATED (date -u +%FT%TZ) and SOURCE (the repository's URL).
# Without a container engine: infra/image/rehearse.py executes these instructions in a clean root file system.
ARG BASE_IMAGE=python:3.11.13-slim-bookworm

FROM ${BASE_IMAGE} AS lists
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /build
# Only these files, so that a change of the source does not rebuild the dependency layers of several GB.
COPY pyproject.toml requirements.lock infra/image/requirements.py ./
RUN python requirements.py project > project.txt \
    && python requirements.py mlflow server > mlflow.txt \
    && python requirements.py audit > audit.txt \
    && python requirements.py build > build.txt

FROM lists AS dependencies
ARG VARIANT=gpu
# Index of PyTorch's CPU wheels, for the CPU variant only. Their versions end in +cpu, which the lock's pins admit.
ARG TORCH_INDEX_URL=""
RUN python -m venv /opt/raybench
ENV PATH=/opt/raybench/bin:$PATH
# pip's cache is a mount and no part of a layer.
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

# `runtime` does not depend on the audit: a vulnerability published today must not block the build of a fix. `reports` lists known
# vulnerabilities, `audited` fails a pipeline.
FROM dependencies AS audit
RUN python -m venv /opt/audit && /opt/audit/bin/pip install --no-cache-dir -c requirements.lock -r audit.txt
COPY --from=mlflow-dependencies /opt/mlflow /opt/mlflow
COPY infra/image/verdict.py ./
# pip-audit exits with 1 if a vulnerability is known; verdict.py checks that its report is complete.
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
# tini: as process 1 it forwards signals and reaps zombie processes (KubeRay starts a shell instead).
# wget: for the health checks below, and KubeRay's probes for Ray before 2.53. No version pins: Debian keeps one version of each.
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
# Loopback by default, enough for the health check; infra/mlflow opens it, with authentication.
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
# A separate layer of 13 MB, so that a new version of the source does not push and pull several GB.
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip install --no-deps --no-index --no-cache-dir /wheel/*.whl
USER 1000:1000
# Asks the Ray node's agent. Kubernetes ignores this line and uses KubeRay's probes.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:52365/api/local_raylet_healthz"]
CMD ["raybench", "--help"]
# Last, because everything after a changed argument is rebuilt.
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
