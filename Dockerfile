# syntax=docker/dockerfile:1
# One image is head, worker, submitter and driver.
#   docker build -t raybench:0.1.0 .                                                 GPU (PyTorch's CUDA wheels)
#   docker build -t raybench:0.1.0-cpu --build-arg VARIANT=cpu --build-arg TORCH_INDEX_URL=... .   CPU only
#   docker build --target reports --output out .                                     pip-audit.json and sbom.json
# For a build that repeats, give the base with its digest: --build-arg BASE_IMAGE=python:3.11.13-slim-bookworm@sha256:...
ARG BASE_IMAGE=python:3.11.13-slim-bookworm

FROM ${BASE_IMAGE} AS dependencies
ARG VARIANT=gpu
# Where PyTorch's CPU wheels are: only the CPU variant needs it.
ARG TORCH_INDEX_URL=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python -m venv /opt/raybench
ENV PATH=/opt/raybench/bin:$PATH
WORKDIR /build
# Only these two files: a change of the source leaves this layer, of several GB, as it is.
COPY pyproject.toml requirements.lock ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    case "${VARIANT}" in \
      gpu) ;; \
      cpu) test -n "${TORCH_INDEX_URL}" || { echo "VARIANT=cpu needs --build-arg TORCH_INDEX_URL: where PyTorch's CPU wheels are." >&2; exit 2; }; \
           grep -E '^(torch|torchvision)==' requirements.lock > torch.txt; \
           pip install --no-deps --index-url "${TORCH_INDEX_URL}" -r torch.txt ;; \
      *) echo "VARIANT is '${VARIANT}'; expected gpu or cpu." >&2; exit 2 ;; \
    esac
# ray[default] brings the dashboard and the job server, which `ray job submit` and KubeRay's probes ask.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c requirements.lock -r requirements.txt "ray[default]"

FROM dependencies AS build
COPY README.md LICENSE ./
COPY raybench ./raybench
RUN pip install --no-deps .

FROM build AS audit
RUN python -m venv /opt/audit && /opt/audit/bin/pip install pip-audit==2.9.0 cyclonedx-bom==7.1.0
RUN mkdir /reports \
    && /opt/audit/bin/cyclonedx-py environment /opt/raybench/bin/python --output-file /reports/sbom.json \
    && { /opt/audit/bin/pip-audit --path "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
         --format json --output /reports/pip-audit.json; echo $? > /reports/pip-audit.exit; }

FROM scratch AS reports
COPY --from=audit /reports /

FROM ${BASE_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="raybench" \
      org.opencontainers.image.description="Which pretrained vision backbone should I use?" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# wget and bash: KubeRay's probes run them inside the container (for Ray before 2.53, and for its init container).
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --user-group --create-home --shell /bin/bash raybench \
    && install -d -o 1000 -g 1000 /storage /cache
COPY --from=build /opt/raybench /opt/raybench
ENV PATH=/opt/raybench/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/raybench \
    HF_HOME=/cache/hub \
    RAY_AUTH_MODE=token \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/raybench
USER 1000:1000
# The node's own agent. Kubernetes ignores this line and uses the probes of KubeRay.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:52365/api/local_raylet_healthz"]
CMD ["raybench", "--help"]
