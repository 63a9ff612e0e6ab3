# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration: `config.yaml` and the environment become one frozen `Config`, read once.

What stops the start and what only warns: ruling 23. All keys and variables are listed in docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from context_chat_backend import __version__, traces
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.exclusions import Exclusions
from context_chat_backend.limits import Limits
from context_chat_backend.settings import NUMBERS, KeyReader, Listener, ModelChoice, read_yaml
from context_chat_backend.settings.chat import ChatSettings
from context_chat_backend.settings.checks import fill, port, switch, url
from context_chat_backend.settings.earlier import as_ours
from context_chat_backend.settings.environment import configuration_of, storage_of
from context_chat_backend.settings.gateway import GatewaySettings
from context_chat_backend.settings.listeners import ChatPorts
from context_chat_backend.settings.planner import PlannerSettings, check_surface
from context_chat_backend.settings.programs import ProgramSettings
from context_chat_backend.settings.safety import SafetySettings

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_TOKEN_CHARACTERS = 16
ROLES = ("normal", "requestproc", "updatesproc", "indexing")


class Secret:
    """A text that must not be shown: prints as `***`, `reveal()` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


@dataclass(frozen=True)
class AppSettings:
    """What makes this process an ExApp."""

    id: str = "context_chat_backend"
    version: str = __version__
    secret: Secret | None = None
    admin_token: Secret | None = None
    """Who sends it is an administrator's tool; None: nobody has one."""
    host: str = "127.0.0.1"
    port: int = 10034
    nextcloud_url: str | None = None
    trusted_certificates: bool | str = True
    """Whose certificates Nextcloud may show: those the system trusts, those in a file, or (False) anybody's."""
    role: str = "normal"
    harp_socket: Path | None = None
    disable_aaa: bool = False
    refusals_per_minute: int = 100
    """So often an address may send what does not hold before it is told to wait."""
    checks_rights_with_nextcloud: bool = True
    """Whether Nextcloud is asked before each answer to a task what its user sees now."""


@dataclass(frozen=True)
class IndexingSettings:
    """Bounds of the index and of the work on it."""

    max_source_bytes: int
    waiting_sources_limit: int
    waiting_bytes_limit: int
    chunk_tokens: int
    chunk_overlap_tokens: int
    parser_processes: int
    embedding_threads: int
    tasks_at_once: int
    """So many answers, and beside them so many searches, are in work in one process."""
    recognition_languages: tuple[str, ...] = ()
    """Of text in pictures, in the names of Tesseract; empty: those that are installed."""


@dataclass(frozen=True)
class Config:
    """Everything the program is told from outside."""

    app: AppSettings
    storage: Path
    database_url: Secret | None
    """None: the embedded PostgreSQL."""
    embedding: ModelChoice
    llm: ModelChoice
    llm_fallback: tuple[ModelChoice, ...]
    """Models that are asked in turn while `llm` is down."""
    reranker: ModelChoice
    indexing: IndexingSettings
    exclusions: Exclusions
    log_level: str
    conversation_days: int
    """So long a conversation is kept after its last turn; 0: none is kept."""
    audit_log: bool
    """Whether it is written down who asked, and which sources were used."""
    traces: str | None
    """Where spans are sent; None: nowhere."""
    listeners: tuple[Listener, ...]
    """Beside that of Nextcloud; one at its port says what is served there."""
    chat: ChatSettings = field(default_factory=ChatSettings)
    ports: ChatPorts = field(default_factory=ChatPorts)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    """Models that requests are passed on to."""
    programs: ProgramSettings = field(default_factory=ProgramSettings)
    planner: PlannerSettings = field(default_factory=PlannerSettings)
    safety: SafetySettings = field(default_factory=SafetySettings)
    limits: Limits = field(default_factory=Limits)
    download_models: bool = True
    """Whether models may be fetched from the network."""
    warnings: tuple[str, ...] = ()
    """What was ignored or mapped, one sentence each."""


def secrets_of(config: Config) -> frozenset[str]:
    """Every secret the configuration holds, so that no log shows one whoever writes it there."""
    told = [config.app.secret, config.app.admin_token, config.database_url]
    found = {one.reveal() for one in told if one is not None}
    if config.database_url is not None:
        found.add(unquote(urlsplit(config.database_url.reveal()).password or ""))
    found |= {issuer.secret for issuer in config.programs.issuers if issuer.secret is not None}
    named = (one.choice for one in config.gateway.models)
    for chosen in (config.embedding, config.llm, *config.llm_fallback, config.reranker, *named):
        found |= chosen.secrets
    if config.safety.api_key is not None:
        found.add(config.safety.api_key)
    found |= {one.tls.key_password for one in config.listeners if one.tls is not None and one.tls.key_password}
    if config.chat.elasticsearch_password:
        found.add(config.chat.elasticsearch_password)
    return frozenset(found)


def load(environment: Mapping[str, str], *, cores: int) -> Config:
    """The configuration in `<storage>/config.yaml` and `environment`; `cores` decides counts that are not set.

    Raises ConfigurationError with the key or variable and the cure.
    """
    storage = storage_of(environment)
    file = configuration_of(environment, Path.cwd()) or storage / "config.yaml"
    reader = KeyReader(as_ours(fill(read_yaml(file), environment)))
    chat_port = environment.get("CHAT_PORT")
    chat, ports = (
        reader.chat(),
        reader.chat_ports(environment.get("CHAT_HOST"), _port(chat_port, "CHAT_PORT") if chat_port else None),
    )
    app = _app(environment, reader, chat.admin_token)
    listeners = _listeners((*ports.listeners, *reader.listeners()), environment)
    programs = reader.programs(environment)
    _keep_closed(app, listeners)
    check_surface(listeners, programs)
    gateway = reader.gateway(environment)
    writing = (reader.model("llm"), *reader.fallbacks("llm"))
    llm, *llm_fallback = gateway.of_chat or writing
    return Config(
        app=app,
        storage=storage,
        database_url=_database_url(reader.model("vectordb"), environment),
        embedding=_embedding(reader.model("embedding"), environment, reader),
        llm=llm,
        llm_fallback=tuple(llm_fallback),
        reranker=reader.model("reranker"),
        indexing=_indexing(reader, cores),
        exclusions=reader.exclusions(),
        log_level=reader.log_level(),
        conversation_days=reader.number("conversation_days", 30, 0),
        audit_log=reader.switch("audit_log"),
        traces=_traces(reader),
        listeners=listeners,
        chat=chat,
        ports=ports,
        gateway=gateway,
        programs=programs,
        planner=reader.planner(environment),
        safety=reader.safety(by_rules=any("chat" in one.surfaces for one in listeners)),
        limits=reader.limits(),
        download_models=_switch(environment, "CC_DOWNLOAD_MODELS_FROM_HF", default=True),
        warnings=reader.finish(),
    )


def _listeners(told: tuple[Listener, ...], environment: Mapping[str, str]) -> tuple[Listener, ...]:
    """Those of the file, the gateway's at GATEWAY_PORT, and the planner's at API_PORT."""
    for name, surface in (("GATEWAY", "gateway"), ("API", "planner")):
        told_port = environment.get(f"{name}_PORT", "")
        if told_port.startswith("tcp://"):  # Kubernetes tells all pods so of a service with that name
            continue
        if told_port and not any(str(one.port) == told_port for one in told):
            host = environment.get(f"{name}_HOST") or None
            told = (*told, Listener(_port(told_port, f"{name}_PORT"), (surface,), host))
    return told


def _app(environment: Mapping[str, str], reader: KeyReader, admin_token: str) -> AppSettings:
    default = AppSettings()
    host = environment.get("APP_HOST") or default.host
    secret = environment.get("APP_SECRET") or None
    disable_aaa = reader.switch("disable_aaa")
    if disable_aaa and host not in LOOPBACK:
        raise ConfigurationError(
            f"disable_aaa: without authentication the program listens on 127.0.0.1 only, and APP_HOST is {host}: "
            "remove disable_aaa from config.yaml, or set APP_HOST=127.0.0.1"
        )
    harp = environment.get("HP_SHARED_KEY")
    if disable_aaa and harp:
        raise ConfigurationError(
            "disable_aaa: HP_SHARED_KEY is set, so HaRP carries requests from everywhere to this program: remove "
            "disable_aaa from config.yaml"
        )
    if secret is None and host not in LOOPBACK:
        raise ConfigurationError(
            f"APP_SECRET: it is not set, so nobody could be told from anybody on {host}: set APP_SECRET to the secret "
            "the app is registered with, or APP_HOST=127.0.0.1"
        )
    if secret == "12345":  # noqa: S105
        reader.warn("APP_SECRET is the secret of the examples, which everybody knows: choose your own")
    role = environment.get("APP_ROLE") or "normal"
    if role not in ROLES:
        reader.warn(f"APP_ROLE: there is no such role; expected one of {', '.join(ROLES)}; 'normal' is used")
        role = "normal"
    return AppSettings(
        id=environment.get("APP_ID") or default.id,
        version=environment.get("APP_VERSION") or default.version,
        secret=None if secret is None else Secret(secret),
        admin_token=_admin_token(environment.get("ADMIN_TOKEN") or admin_token),
        host=host,
        port=_port(environment.get("APP_PORT") or str(default.port)),
        nextcloud_url=_nextcloud_url(environment.get("NEXTCLOUD_URL")),
        trusted_certificates=_trusted(environment.get("NPA_NC_CERT"), reader),
        role=role,
        harp_socket=Path(environment.get("HP_EXAPP_SOCK") or "/tmp/exapp.sock") if harp else None,  # noqa: S108
        disable_aaa=disable_aaa,
        refusals_per_minute=reader.number("refusals_per_minute", default.refusals_per_minute, 1),
        checks_rights_with_nextcloud=reader.switch("check_rights_with_nextcloud", default=True),
    )


def _keep_closed(app: AppSettings, listeners: tuple[Listener, ...]) -> None:
    """Without authentication Nextcloud's routes are reached from this machine alone, at every port."""
    for listener in listeners if app.disable_aaa else ():
        if (listener.host or app.host) not in LOOPBACK and {"nextcloud", "metrics"} & set(listener.surfaces):
            raise ConfigurationError(
                f"disable_aaa: without authentication {', '.join(listener.surfaces)} may be served on 127.0.0.1 only, "
                f"and listeners has host {listener.host} for port {listener.port}: remove disable_aaa, or that host"
            )


def _traces(reader: KeyReader) -> str | None:
    url = reader.address("traces")
    if url is not None:
        traces.check_installed()
    return url


def _admin_token(text: str | None) -> Secret | None:
    if not text:
        return None
    if len(text) < _TOKEN_CHARACTERS or not text.isascii() or text != text.strip():
        raise ConfigurationError(
            f"ADMIN_TOKEN: expected at least {_TOKEN_CHARACTERS} ASCII characters without blanks around them, for "
            "example what 'openssl rand -hex 32' prints"
        )
    return Secret(text)


def _port(text: str, name: str = "APP_PORT") -> int:
    return port(name, int(text) if text.isascii() and text.isdigit() and len(text) < 6 else text)


def _trusted(text: str | None, reader: KeyReader) -> bool | str:
    verify = [reader.switch(key, default=True) for key in ("verify_ssl", "httpx_verify_ssl")]
    if not text:
        return all(verify)
    if text.lower() in ("true", "1", "false", "0"):
        return text.lower() in ("true", "1")
    if not Path(text).is_file():
        raise ConfigurationError("NPA_NC_CERT: expected true, false, or a file with certificates that can be read")
    return text


def _nextcloud_url(text: str | None) -> str | None:
    if not text:
        return None
    return url("NEXTCLOUD_URL", text.strip().rstrip("/").removesuffix("/index.php").rstrip("/"))


def _database_url(vectordb: ModelChoice, environment: Mapping[str, str]) -> Secret | None:
    named = {
        "vectordb.pgvector.connection": vectordb.options.get("connection"),
        "CCB_DB_URL": environment.get("CCB_DB_URL"),
        "EXTERNAL_DB": environment.get("EXTERNAL_DB"),
        "SUPABASE_DB_URL": environment.get("SUPABASE_DB_URL"),
    }
    for name, address in named.items():
        if address:
            scheme, separator, rest = address.partition("://")
            if not separator or scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
                raise ConfigurationError(f"{name}: expected a URL postgresql://user:password@host/database")
            return Secret(f"postgresql://{rest}")
    return None


def _embedding(chosen: ModelChoice, environment: Mapping[str, str], reader: KeyReader) -> ModelChoice:
    """The model of the file, or the server of CC_EM_BASE_URL, whose other options the file may set."""
    login = {
        option: environment[name]
        for name, option in (
            ("CC_EM_APIKEY", "api_key"), ("CC_EM_USERNAME", "username"), ("CC_EM_PASSWORD", "password"),
        )
        if environment.get(name)
    }  # fmt: skip
    url = environment.get("CC_EM_BASE_URL")
    if not url:
        if login and chosen.name != "openai":
            reader.warn("CC_EM_APIKEY, CC_EM_USERNAME, CC_EM_PASSWORD: without effect, CC_EM_BASE_URL is not set")
        return chosen if chosen.name != "openai" else _server(ModelChoice("openai", login | dict(chosen.options)))
    kept = dict(chosen.options) if chosen.name == "openai" else {}
    model = environment.get("CC_EM_MODEL_NAME")
    options = kept | login | {"base_url": url} | ({"model_name": model} if model else {})
    if chosen.name != "openai":
        reader.warn(f"CC_EM_BASE_URL is set: the embedding model of config.yaml, '{chosen.name}', is not used")
    return _server(ModelChoice("openai", options))


def _server(chosen: ModelChoice) -> ModelChoice:
    url("embedding.openai.base_url (CC_EM_BASE_URL)", chosen.options.get("base_url"))
    if ("username" in chosen.options) != ("password" in chosen.options):
        raise ConfigurationError(
            "embedding.openai.auth (CC_EM_USERNAME, CC_EM_PASSWORD): username and password belong together"
        )
    return chosen


def _switch(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    told = environment.get(name, "").strip()
    return switch(name, told) if told else default


def _indexing(reader: KeyReader, cores: int) -> IndexingSettings:
    reader.map_names()
    values = {"parser_processes": max(1, cores // 2), "embedding_threads": max(1, cores // 2)}
    for key, (default, least) in NUMBERS.items():
        values[key] = reader.number(key, values[key] if default is None else default, least)
        if key == "chunk_tokens":
            values["chunk_overlap_tokens"] = values[key] // 10
    indexing = IndexingSettings(**values, recognition_languages=reader.recognition_languages())
    if indexing.chunk_overlap_tokens > indexing.chunk_tokens // 2:
        raise ConfigurationError(
            f"chunk_overlap_tokens: {indexing.chunk_overlap_tokens} is more than half of chunk_tokens, which is "
            f"{indexing.chunk_tokens}: lower it, or raise chunk_tokens"
        )
    return indexing
