# SPDX-License-Identifier: AGPL-3.0-or-later
# One file, three images, for linux/amd64 and linux/arm64:
#   docker build --tag context_chat_backend .                                     computes on the CPU
#   docker build --tag context_chat_backend:cuda --build-arg DEVICE=cuda .        and on GPUs of NVIDIA: torch, llama.cpp
#   docker build --tag context_chat_backend:rocm --build-arg DEVICE=rocm .        and on GPUs of AMD and Intel: llama.cpp, by Vulkan
# Further arguments: OCR_LANGUAGES="eng deu fra" (Tesseract's names), FRP_VERSION, FRP_SHA256 (the checksum its archive must
# have; without it the one that lies beside the archive), REFERENCE_POSTGRES=17 (to read volumes of the reference).
# All work is done by dockerfile_scripts/, which run outside of Docker, too (docs/install.md).
ARG DEVICE=cpu

# What every image runs on.
FROM debian:12-slim AS system
SHELL ["/bin/sh", "-eu", "-c"]
WORKDIR /app
ARG OCR_LANGUAGES="eng deu"
COPY dockerfile_scripts/install_deps.sh dockerfile_scripts/
RUN dockerfile_scripts/install_deps.sh run

# The environment of Python, with the embedded PostgreSQL and the bundled model.
FROM system AS environment
RUN dockerfile_scripts/install_deps.sh build
COPY dockerfile_scripts/ dockerfile_scripts/
COPY requirements*.txt ./
RUN dockerfile_scripts/make_venv.sh requirements.txt && dockerfile_scripts/pgsql/install.sh

# llama.cpp, compiled for NVIDIA: the compiler is in no other layer.
FROM nvidia/cuda:13.0.2-devel-ubuntu22.04 AS llama-cuda
WORKDIR /wheels
# hadolint ignore=DL3008  # of a package there is one version at a time
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ python3-dev python3-pip && rm -rf /var/lib/apt/lists/*
COPY requirements.cuda.txt ./
ENV CMAKE_ARGS="-DGGML_CUDA=on -DGGML_NATIVE=off -DGGML_AVX2=on -DGGML_FMA=on -DGGML_F16C=on" \
    LIBRARY_PATH=/usr/local/cuda/lib64/stubs
RUN pip3 wheel --no-cache-dir --no-deps "$(grep '^llama-cpp-python==' requirements.cuda.txt)"

FROM environment AS environment-cuda
COPY --from=llama-cuda /wheels/ /wheels/
RUN PIP_FIND_LINKS=/wheels dockerfile_scripts/make_venv.sh requirements.cuda.txt

FROM environment AS environment-rocm
ENV CMAKE_ARGS="-DGGML_VULKAN=on -DGGML_NATIVE=off -DGGML_AVX2=on -DGGML_FMA=on -DGGML_F16C=on"
RUN dockerfile_scripts/install_deps.sh compile && dockerfile_scripts/make_venv.sh requirements.rocm.txt

# The client of HaRP's tunnel (dockerfile_scripts/frpc.sh), the program, and its user.
FROM system AS program
ARG FRP_VERSION=0.61.1
ARG FRP_SHA256
ARG TARGETARCH=amd64
ADD https://github.com/fatedier/frp/releases/download/v${FRP_VERSION}/frp_${FRP_VERSION}_linux_${TARGETARCH}.tar.gz /tmp/frp.tar.gz
ADD https://github.com/fatedier/frp/releases/download/v${FRP_VERSION}/frp_sha256_checksums.txt /tmp/frp.checksums
COPY dockerfile_scripts/ dockerfile_scripts/
RUN dockerfile_scripts/frpc.sh install /tmp/frp.tar.gz /tmp/frp.checksums
# The programs that read the database on a volume of the reference: REFERENCE_POSTGRES=17; none where it is empty.
ARG REFERENCE_POSTGRES=""
RUN if [ -n "$REFERENCE_POSTGRES" ]; then dockerfile_scripts/pgsql/install.sh "$REFERENCE_POSTGRES"; fi
COPY . .
# A new volume takes its owner from the folder it is mounted on: the one by hand, and AppAPI's. HaRP's certificates come
# into /certs.
RUN useradd --create-home --uid 1000 ccb && \
    ln -s /app/dockerfile_scripts/context-chat.sh /usr/local/bin/context-chat && \
    install --directory --owner ccb --group ccb persistent_storage /nc_app_context_chat_backend_data /certs
ENV APP_PERSISTENT_STORAGE=/app/persistent_storage \
    RUN_AS=ccb \
    PYTHONUNBUFFERED=1
EXPOSE 10034
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD [".venv/bin/python", "dockerfile_scripts/alive.py"]
ENTRYPOINT ["tini", "--", "dockerfile_scripts/entrypoint.sh"]

FROM program AS cpu
COPY --from=environment /app/.venv .venv

FROM program AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LD_LIBRARY_PATH=/app/.venv/lib/python3.11/site-packages/nvidia/cu13/lib
COPY --from=environment-cuda /app/.venv .venv

FROM program AS rocm
RUN dockerfile_scripts/install_deps.sh vulkan
COPY --from=environment-rocm /app/.venv .venv

# hadolint ignore=DL3006
FROM ${DEVICE} AS image
USER 1000:1000
