# SPDX-License-Identifier: AGPL-3.0-or-later
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*

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
    CMD [".venv/bin/python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('APP_PORT', '10034') + '/heartbeat')"]
ENTRYPOINT ["tini", "--", ".venv/bin/python", "main.py"]
