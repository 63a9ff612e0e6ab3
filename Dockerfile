# SPDX-License-Identifier: AGPL-3.0-or-later
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends tini tesseract-ocr-deu tesseract-ocr-eng \
    && rm -rf /var/lib/apt/lists/*

# The tunnel of HaRP (dockerfile_scripts/start.sh). FRP_SHA256 is the checksum of the archive for this architecture, from
# frp_sha256_checksums.txt of its release; without it the build stops.
ARG FRP_VERSION=0.61.1
ARG FRP_SHA256
ARG TARGETARCH=amd64
ADD https://github.com/fatedier/frp/releases/download/v${FRP_VERSION}/frp_${FRP_VERSION}_linux_${TARGETARCH}.tar.gz /tmp/frp.tar.gz
COPY dockerfile_scripts/get_frpc.sh /tmp/
RUN /tmp/get_frpc.sh /tmp/frp.tar.gz "${FRP_SHA256}" /usr/local/bin && rm /tmp/frp.tar.gz /tmp/get_frpc.sh

WORKDIR /app
COPY requirements.txt ./
COPY dockerfile_scripts/ dockerfile_scripts/
RUN dockerfile_scripts/make_venv.sh requirements.txt
COPY . .

RUN useradd --create-home --uid 1000 ccb && mkdir -p persistent_storage && chown ccb persistent_storage
USER ccb
ENV APP_PERSISTENT_STORAGE=/app/persistent_storage
EXPOSE 10034
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD [".venv/bin/python", "dockerfile_scripts/alive.py"]
ENTRYPOINT ["tini", "--", "dockerfile_scripts/start.sh"]
