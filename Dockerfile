# depthmill with torch: for work pools, Dask clusters and single runs. docs/operations/container.md says how to use it.
#   docker build -t depthmill:cpu .
#   docker build -t depthmill:cuda --build-arg VARIANT=cuda .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# cpu or cuda; with cuda also what accumulates LiDAR on a GPU
ARG VARIANT=cpu
# extras of depthmill; compose.yaml adds `cluster` for its S3 server
ARG EXTRAS=train,dask,s3
# options of pip: where the torch without CUDA comes from. A CUDA build takes torch from the usual index
ARG TORCH_CPU="--index-url https://download.pytorch.org/whl/cpu"
ENV PATH=/opt/depthmill/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/depthmill
WORKDIR /src
COPY constraints.txt ./
# before depthmill itself, so that this layer, the largest, stays while code changes
# hadolint ignore=DL3013  # its version is read from constraints.txt
RUN set -eu; \
    torch="$(grep '^torch==' constraints.txt)"; \
    case "$VARIANT" in \
        cpu) from="$TORCH_CPU" ;; \
        cuda) from="" ;; \
        *) echo "error: VARIANT is '$VARIANT', expected cpu or cuda" >&2; exit 2 ;; \
    esac; \
    # shellcheck disable=SC2086  # several options
    pip install --no-deps $from "$torch"
COPY pyproject.toml README.md LICENSE ./
COPY depthmill depthmill
COPY storage_schemas storage_schemas
COPY pipeline pipeline
COPY model model
COPY flows flows
RUN set -eu; \
    gpu=""; if [ "$VARIANT" = cuda ]; then gpu=",gpu"; fi; \
    pip install -c constraints.txt ".[$EXTRAS$gpu]"

FROM ${BASE}
RUN useradd --uid 1000 --create-home depthmill \
    && install --directory --owner=depthmill /data
COPY --from=build /opt/depthmill /opt/depthmill
# one thread a process, because scenes are what runs side by side; Dask must neither spill nor pause (docs/operations/dask.md)
ENV PATH=/opt/depthmill/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    NUMBA_NUM_THREADS=1 \
    DASK_DISTRIBUTED__WORKER__MEMORY__TARGET=False \
    DASK_DISTRIBUTED__WORKER__MEMORY__SPILL=False \
    DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DO_NOT_TRACK=1 \
    DEPTHMILL_CACHE_DIR=/data/cache
USER 1000
WORKDIR /data
HEALTHCHECK --interval=10m --timeout=2m --start-period=1m CMD ["depthmill", "doctor"]
CMD ["depthmill", "--help"]
