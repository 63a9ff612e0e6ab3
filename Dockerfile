# SPDX-License-Identifier: AGPL-3.0-or-later
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends tini tesseract-ocr-deu tesseract-ocr-eng \
    && rm -rf /var/lib/apt/lists/*

# The tunnel of HaRP (dockerfile_scripts/start.sh).
ARG FRP_VERSION=0.61.1
ARG TARGETARCH=amd64
ADD https://github.com/fatedier/frp/releases/download/v${FRP_VERSION}/frp_${FRP_VERSION}_linux_${TARGETARCH}.tar.gz /tmp/frp.tar.gz
RUN tar -xzf /tmp/frp.tar.gz -C /usr/local/bin --strip-components=1 --wildcards '*/frpc' && rm /tmp/frp.tar.gz

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
