# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the environment tells: its variables, the file `.env`, and where storage and configuration are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from context_chat_backend.errors import ConfigurationError

_SECRET_NAMES = re.compile(r"SECRET|TOKEN(?!IZERS)|PASSW|API_?KEY|CREDENTIAL|PGPASS", re.IGNORECASE)

VARIABLES = {
    "AA_VERSION": "version of AppAPI; not looked at",
    "APP_ID": "id of the ExApp",
    "APP_SECRET": "secret shared with Nextcloud",
    "ADMIN_TOKEN": "who sends it may read /metrics and /status",
    "APP_DISPLAY_NAME": "name shown in Nextcloud; not looked at",
    "APP_VERSION": "version told to Nextcloud",
    "APP_HOST": "address to listen on",
    "APP_PORT": "port to listen on",
    "APP_PERSISTENT_STORAGE": "folder that is kept over updates",
    "APP_ROLE": "what this process does",
    "NEXTCLOUD_URL": "base URL of Nextcloud",
    "NPA_NC_CERT": "true, false, or a file of certificates Nextcloud's is checked by",
    "COMPUTE_DEVICE": "CPU, CUDA or ROCM: which configuration is copied at the first start",
    "CC_CONFIG_PATH": "the configuration, in the place of the one in the storage",
    "CHAT_HOST": "address the chat server listens on; it wins over general.host",
    "CHAT_PORT": "port the chat server listens on; it wins over general.port",
    "CCB_DB_URL": "URL of an external PostgreSQL",
    "EXTERNAL_DB": "URL of an external PostgreSQL, as the reference calls it",
    "CC_EM_BASE_URL": "URL of a remote embedding server; it wins over config.yaml",
    "CC_EM_MODEL_NAME": "name of the model there",
    "CC_EM_APIKEY": "its key",
    "CC_EM_USERNAME": "or a user name there",
    "CC_EM_PASSWORD": "and the password",
    "CC_DOWNLOAD_MODELS_FROM_HF": "false: no model is ever downloaded",
    "ENVIRONMENT": "production or development, as environment of config.yaml says",
    "SUPABASE_DB_URL": "URL of an external PostgreSQL, as the planner calls it",
    "SUPABASE_JWT_SECRET": "by what the tokens of Supabase's users are checked",
    "SUPABASE_PROJECT_URL": "who issues them",
    "COMPUTE_TOP_K": "how many machines a search gives",
    "K8S_TOP_K": "how many packages",
    "HF_TOP_K": "how many models",
    "HF_EMBEDDING_MODEL_NAME": "by whose vectors models are searched",
    "HF_CHUNKER_VERSION": "how their cards were cut",
    "GATEWAY_HOST": "address the gateway listens on, where it is not that of APP_HOST",
    "GATEWAY_PORT": "port of the gateway",
    "API_HOST": "address the planner listens on, where it is not that of APP_HOST",
    "API_PORT": "port of the planner",
    "REFACT_SERVER_URL": "root of a Refact server that completes code",
    "REFACT_API_KEY": "its key",
    "HP_SHARED_KEY": "set by HaRP: listen on a unix socket",
    "HP_EXAPP_SOCK": "that unix socket",
}
"""Every environment variable the program reads, and what for."""


def read_environment(working_directory: Path, process: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the process (the real one by default) over the file `.env` in the working directory.

    Raises ConfigurationError when that file cannot be read.
    """
    file = working_directory / ".env"
    try:
        read = _parse_env(file.read_text(encoding="utf-8-sig")) if file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read; it has to be a readable text in UTF-8") from error
    return read | dict(os.environ if process is None else process)


def environment_without_secrets(process: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the process (the real one by default) for one it starts: without what is told to the program
    alone, and without whatever else is called a secret.
    """
    given = os.environ if process is None else process
    return {name: text for name, text in given.items() if name not in VARIABLES and not _SECRET_NAMES.search(name)}


def storage_of(environment: Mapping[str, str]) -> Path:
    """The folder that is kept over updates."""
    return Path(environment.get("APP_PERSISTENT_STORAGE") or "persistent_storage").absolute()


def configuration_of(environment: Mapping[str, str], working_directory: Path) -> Path | None:
    """The file that counts: the one that is named, that of the storage, one in the working directory; None: none is.

    Raises ConfigurationError when the one that is named is not there.
    """
    named = environment.get("CC_CONFIG_PATH")
    if named:
        if not Path(named).is_file():
            raise ConfigurationError(f"CC_CONFIG_PATH (--config): there is no file {named}")
        return Path(named)
    places = (storage_of(environment) / "config.yaml", working_directory / "config.yaml")
    return next((place for place in places if place.is_file()), None)


def _parse_env(text: str) -> dict[str, str]:
    """Lines `NAME=value`, as `docker --env-file` reads them, quotes and `export` allowed."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if separator and not name.startswith("#"):
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            values[name.strip()] = value[1:-1] if quoted else value
    return values
