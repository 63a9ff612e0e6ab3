# SPDX-License-Identifier: AGPL-3.0-or-later
"""Serve: listen first, so that the heartbeat answers, then start the rest; on a signal stop in reverse order."""

from __future__ import annotations

import asyncio
import errno
import gc
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from context_chat_backend.cli.certificates import Certificate, keep_renewed
from context_chat_backend.cli.workers import keep_working, parent_gone
from context_chat_backend.config import AppSettings, Config
from context_chat_backend.errors import StartError
from context_chat_backend.exapp.loops import Loops
from context_chat_backend.limits import Limits
from context_chat_backend.logs import get_logger
from context_chat_backend.settings import Listener
from context_chat_backend.web.app import build_app
from context_chat_backend.web.connections import Connection
from context_chat_backend.web.places import Places
from context_chat_backend.wiring import Backend

_STOP_SECONDS = 5
_TICKS_A_SECOND = 10
_OTHER_FILES = 512
"""What else is opened: of models, of the database, of what is indexed."""
_OBJECTS_BETWEEN_COLLECTIONS = 20_000
_SERVING_ROLES = ("normal", "requestproc")
_INDEXING_ROLES = ("normal", "indexing")
_log = get_logger(__name__)


async def serve(
    config: Config,
    after_start: Callable[[Backend], Awaitable[None]] | None = None,
    *,
    workers: int = 1,
    arguments: Sequence[str] = (),
    is_worker: bool = False,
) -> None:
    """Run until a signal comes; `after_start` is called once with the running backend.

    With `workers` above 1 so many processes serve the further listeners, the others started with `arguments`. One of
    them is a worker, which ends with who started it.

    Raises StartError, ConfigurationError and whatever else keeps the backend from starting.
    """
    backend = Backend(config)
    opened = _open(config, shared=is_worker or workers > 1, is_worker=is_worker)
    certificates = [Certificate(listener.tls) for _, listener in opened if listener.tls is not None]
    loops = Loops(backend)
    limits = replace(config.limits, connections=_connections(config.limits.connections, len(opened)))
    places = Places(limits)
    shown = {one.tls: one.context for one in certificates}
    apps = [build_app(backend, surfaces=one.surfaces, loops=loops, places=places) for _, one in opened]
    servers = [
        (server_for(app, limits, None if one.tls is None else shown[one.tls]), listener)
        for app, (listener, one) in zip(apps, opened, strict=True)
    ]
    serving = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
    starting = asyncio.create_task(_start(backend, loops, after_start))
    stopped = _signalled()
    beside = [asyncio.create_task(keep_renewed(certificates))]
    ends = {stopped, asyncio.create_task(parent_gone())} if is_worker else {stopped}
    try:
        await asyncio.wait({*serving, starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()  # an error stops the start
        _spare_the_collector()
        if workers > 1:
            beside.append(asyncio.create_task(keep_working(workers - 1, arguments)))
        await asyncio.wait({*serving, *ends}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        for server, _ in servers:
            server.should_exit = True
        starting.cancel()
        await asyncio.gather(*serving, starting, return_exceptions=True)
        if left := [task for app in apps for task in app.state.writing]:
            await asyncio.wait(left, timeout=_STOP_SECONDS)
        await loops.stop()
        await backend.close()
        for listener, _ in opened:
            listener.close()


def _spare_the_collector() -> None:
    """Look for garbage less often, and not among what lives as long as the program.

    Indexing makes many small objects, and looking through the rest again took a sixth of a question's time.
    """
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 20, 50)


def _open(config: Config, *, shared: bool, is_worker: bool) -> list[tuple[socket.socket, Listener]]:
    """The sockets to serve on, each with what is served there. Raises StartError.

    A worker leaves Nextcloud's to who started it; the others are `shared` with it.
    """
    app = config.app
    further = config.listeners if app.role in _SERVING_ROLES else ()
    opened: list[tuple[socket.socket, Listener]] = []
    try:
        same = next((one for one in further if app.harp_socket is None and one.port == app.port), None)
        if not is_worker:
            opened.append((_listen(app), same or Listener(app.port)))
        for one in further:
            if one is not same:
                how = f"name another port or host in listeners of config.yaml ({one.port})"
                opened.append((_listen_at(one.host or app.host, one.port, how, shared=shared), one))
    except BaseException:
        for listener, _ in opened:
            listener.close()
        raise
    return opened


def _connections(wanted: int, listeners: int) -> int:
    """How many connections each listener may hold, as far as the files allow that this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted * listeners + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    fewer = max(1, (soft - _OTHER_FILES) // listeners)
    _log.warning("few_open_files", limits_connections=wanted, connections=fewer, open_files=soft)
    return fewer


def server_for(app: FastAPI, limits: Limits, certificate: ssl.SSLContext | None = None) -> uvicorn.Server:
    """What serves `app`, with HTTPS where it has a certificate; its connections keep to `limits`."""
    settings = uvicorn.Config(
        app,
        http=type("BoundedConnection", (Connection,), {"limits": limits}),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whom to believe is said by server.trusted_proxies alone (web/addresses.py)
        timeout_graceful_shutdown=_STOP_SECONDS,
        lifespan="off",
    )
    settings.load()
    settings.ssl = certificate
    return _Server(settings)


class _Server(uvicorn.Server):
    """uvicorn with an eye on its connections, and without its signal handlers: they would end the process too early."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def on_tick(self, counter: int) -> bool:
        """Called every tenth of a second; whether to stop."""
        if counter % _TICKS_A_SECOND == 0:
            now = asyncio.get_running_loop().time()
            looked = [one.look(now) for one in list(self.server_state.connections) if isinstance(one, Connection)]
            if any(looked):
                _log.warning("slow_connections_closed", count=sum(looked))
        return await super().on_tick(counter)


def _signalled() -> asyncio.Future[None]:
    """Done when the program is told to stop."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return stopped


async def _start(backend: Backend, loops: Loops, after_start: Callable[[Backend], Awaitable[None]] | None) -> None:
    await backend.start(indexing=backend.config.app.role in _INDEXING_ROLES)
    loops.start()
    config = backend.config
    _log.info("ready", port=config.app.port)
    if backend.chat_log is not None:
        _log.info(
            "chat_server",
            listeners=[f"{one.host}:{one.port}" for one in config.listeners if "chat" in one.surfaces],
            answers=list(backend.language_models),
            embedding=backend.embedding_model,
            reranker=config.reranker.name,
            judge=config.safety.judge or "nobody",
            elasticsearch=config.chat.ships_records,
            administered=config.app.admin_token is not None,
        )
    if after_start is not None:
        await after_start(backend)


def _listen(app: AppSettings) -> socket.socket:
    """The socket to serve on: HaRP's unix socket, or address and port. Raises StartError when it is taken."""
    if app.harp_socket is not None:
        app.harp_socket.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(app.harp_socket))
        return listener
    return _listen_at(app.host, app.port, "set APP_HOST, APP_PORT")


def _listen_at(host: str, port: int, cure: str, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    # Handed down to connections. Without it each answer waits 40 ms for an acknowledgement that the caller delays.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"port {port} is taken: stop the program that listens there, or {cure}") from error
        raise StartError(f"{host}:{port} cannot be listened on ({error.strerror}): {cure}") from error
    return listener
