# SPDX-License-Identifier: AGPL-3.0-or-later
"""The HTTP program: OCS routes for the ExApp, and `/_double/...` for whoever plays people and administrators."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response

from tests.nextcloud_double import ocs
from tests.nextcloud_double.apps import AA_VERSION, ExApp
from tests.nextcloud_double.faults import Fault, Faults
from tests.nextcloud_double.tasks import Refused, Tasks
from tests.nextcloud_double.world import World

COMPANION = "/ocs/v{version}.php/apps/context_chat"
APPAPI = "/ocs/v{version}.php/apps/app_api"
PROVIDER = "/ocs/v{version}.php/taskprocessing/tasks_provider"
TASKS = "/ocs/v{version}.php/taskprocessing"
_SCHEDULES_PER_USER = 20
_SCHEDULE_SECONDS = 120

Route = Callable[["Call"], Awaitable[Response]]


@dataclass
class Call:
    """One request of the ExApp, its parameters from path, query and body together, as Nextcloud sees it."""

    version: int
    user: str
    parameters: dict[str, Any]

    def ok(self, data: Any) -> Response:
        """Success."""
        return ocs.envelope(self.version, data)


@dataclass
class State:
    """The whole Nextcloud."""

    world: World = field(default_factory=World)
    app: ExApp | None = None
    faults: list[Fault] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    schedules: dict[str, list[float]] = field(default_factory=dict)
    background: set[asyncio.Task[None]] = field(default_factory=set)
    tasks: Tasks = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = Tasks(self.world.now)

    def provide(self) -> bool:
        """Whether providers of the ExApp are visible."""
        self.tasks.visible = self.app is not None and self.app.enabled
        return self.tasks.visible


def build(state: State) -> FastAPI:
    """The program around a state."""
    program = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    program.add_middleware(Faults, script=state.faults)
    routes = _Routes(program, state)
    _add_appapi(routes)
    _add_companion(routes)
    _add_tasks(routes)
    _add_text(routes)
    _add_controls(program, state)

    @program.api_route("/{path:path}", methods=["GET", "PUT", "POST", "DELETE"])
    async def nothing(path: str) -> Response:
        if path.startswith("ocs/v1.php"):
            return ocs.envelope(1, [], 998)
        return ocs.envelope(2, [], 404, "Invalid query, please check the syntax")

    return program


class _Routes:
    """Adds OCS routes with the checks of their kind."""

    def __init__(self, program: FastAPI, state: State) -> None:
        self.program = program
        self.state = state

    def add(self, methods: str, path: str, kind: str, route: Route) -> None:
        """`kind`: 'appapi' (401 when unauthenticated), 'exapp' (412), 'user' (a user is needed), 'state', 'status',
        'admin' (a password is needed)."""

        async def answer(request: Request) -> Response:
            call = await self._admitted(request, kind)
            return call if isinstance(call, Response) else await self._run(call, route)

        for alias in (path, path + "/"):
            self.program.add_api_route(alias, answer, methods=methods.split(), response_model=None)

    async def _admitted(self, request: Request, kind: str) -> Call | Response:
        version = 1 if "/v1.php/" in request.url.path else 2
        parameters = await _parameters(request)
        app = self.state.app
        user = None if app is None else app.acting_user(request.headers)
        self._note(request, parameters, user)
        if request.headers.get("ocs-apirequest") != "true":
            return ocs.refused("CSRF check failed")
        if kind == "admin":  # for autoscalers, with a password
            named = request.headers.get("authorization", "").startswith("Basic ")
            return Call(version, "admin", parameters) if named else ocs.unauthenticated(version)
        exempt = kind == "state" or (kind == "status" and app is not None and app.action == "init")
        known = app is not None and user is not None and (app.enabled or exempt)
        if not known or (user and user not in self.state.world.users):
            return ocs.refused("ExApp required") if kind == "exapp" else ocs.unauthenticated(version)
        if kind == "user" and not user:
            return ocs.unauthenticated(version)
        if request.query_params.get("format") != "json" and "json" not in request.headers.get("accept", ""):
            return Response("<?xml version='1.0'?><ocs/>", media_type="application/xml")
        return Call(version, user or "", parameters | request.path_params)

    async def _run(self, call: Call, route: Route) -> Response:
        try:
            return await route(call)
        except Refused as refusal:
            return ocs.envelope(call.version, refusal.data, refusal.status)
        except (KeyError, TypeError, ValueError, AttributeError):  # an uncaught error of PHP: a parameter is missing
            return ocs.envelope(call.version, [], 500 if call.version == 2 else 996)

    def _note(self, request: Request, parameters: dict[str, Any], user: str | None) -> None:
        entry = {
            "at": time.time(), "method": request.method, "path": request.url.path, "parameters": parameters,
            "user": user, "headers": dict(request.headers),
        }  # fmt: skip
        self.state.journal.append(entry)


async def _parameters(request: Request) -> dict[str, Any]:
    """Query and JSON body together, for any verb; `name[]` is a list."""
    parameters: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name.endswith("[]"):
            parameters.setdefault(name[:-2], []).append(value)
        else:
            parameters[name] = value
    body = await request.body()
    if body and "json" in request.headers.get("content-type", ""):
        parameters |= json.loads(body)
    return parameters


def _add_appapi(routes: _Routes) -> None:
    state = routes.state

    async def status(call: Call) -> Response:
        assert state.app is not None
        progress = int(call.parameters["progress"])
        if not 0 <= progress <= 100:
            raise Refused(996 if call.version == 1 else 500)
        await state.app.set_progress(progress, call.parameters.get("error", ""))
        return call.ok([])

    async def enabled(call: Call) -> Response:
        assert state.app is not None
        return call.ok(int(state.app.enabled))

    async def log(call: Call) -> Response:
        if call.parameters["level"] not in range(5):
            raise Refused(400)
        state.log.append({"level": call.parameters["level"], "message": call.parameters["message"]})
        return call.ok([])

    async def capabilities(call: Call) -> Response:
        version = {"major": 33, "minor": 0, "micro": 8, "string": "33.0.8", "edition": "", "extendedSupport": False}
        known = {"app_api": {"loglevel": 2, "version": AA_VERSION}}
        return call.ok({"version": version, "capabilities": known})

    async def users(call: Call) -> Response:
        return call.ok(sorted(state.world.users))

    async def register(call: Call) -> Response:
        state.tasks.register(call.parameters)
        return call.ok([])

    async def unregister(call: Call) -> Response:
        state.tasks.unregister(call.parameters["name"])
        return call.ok([])

    async def registered(call: Call) -> Response:
        return call.ok(state.tasks.registered[call.parameters["name"]])

    routes.add("PUT", f"{APPAPI}/ex-app/status", "status", status)
    routes.add("PUT", APPAPI + "/apps/status/{app_id}", "appapi", status)
    routes.add("GET", f"{APPAPI}/ex-app/state", "state", enabled)
    routes.add("POST", f"{APPAPI}/api/v1/log", "appapi", log)
    routes.add("GET", "/ocs/v{version}.php/cloud/capabilities", "appapi", capabilities)
    routes.add("GET", f"{APPAPI}/api/v1/users", "appapi", users)
    routes.add("POST", f"{APPAPI}/api/v1/ai_provider/task_processing", "appapi", register)
    routes.add("DELETE", f"{APPAPI}/api/v1/ai_provider/task_processing", "appapi", unregister)
    routes.add("GET", f"{APPAPI}/api/v1/ai_provider/task_processing", "appapi", registered)


def _add_companion(routes: _Routes) -> None:
    world = routes.state.world

    def add(methods: str, path: str, route: Route) -> None:
        async def of_pull(call: Call) -> Response:
            if world.companion != "pull":  # the app has no such routes
                raise Refused(404 if call.version == 2 else 998)
            return await route(call)

        routes.add(methods, COMPANION + path, "exapp", of_pull)

    async def documents(call: Call) -> Response:
        limit = str(call.parameters.get("n", 64))
        if not limit.isdigit() or int(limit) == 0:
            raise Refused(400, {"message": "n must be positive"})
        return call.ok(world.lease_documents(min(int(limit), 1024)))

    async def acknowledge_documents(call: Call) -> Response:
        files, content = call.parameters["files"], call.parameters["content_providers"]
        world.file_queue.delete(files)
        world.content_queue.delete(content)
        return call.ok([])

    async def actions(call: Call) -> Response:
        return call.ok({"actions": world.lease_actions(int(call.parameters.get("n", 512)))})

    async def acknowledge_actions(call: Call) -> Response:
        world.actions.delete(call.parameters["actions"])
        return call.ok([])

    async def download(call: Call) -> Response:
        status, body = world.download(int(call.parameters["file_id"]), call.parameters["userId"])
        if status != 200:
            raise Refused(status, {"error": "the file could not be read"})
        return Response(body, media_type="text/html; charset=UTF-8")

    async def resolve(call: Call) -> Response:
        user = call.parameters["userId"]
        if user not in world.users:
            raise Refused(500)
        return call.ok({"source_ids": world.resolve(call.parameters["source_ids"], user)})

    async def enrich(call: Call) -> Response:
        sources = [source for source in call.parameters["sources"] if ": " in source["source_id"]]
        return call.ok({"sources": world.enrich(sources, call.parameters["userId"])})

    async def document_stats(call: Call) -> Response:
        files, content = world.file_queue.stats(), world.content_queue.stats()
        return call.ok({name: files[name] + content[name] for name in files})

    async def action_stats(call: Call) -> Response:
        return call.ok(world.actions.stats())

    routes.add("GET", COMPANION + "/queues/documents/stats", "admin", document_stats)
    routes.add("GET", COMPANION + "/queues/actions/stats", "admin", action_stats)
    add("GET", "/queues/documents", documents)
    add("DELETE", "/queues/documents", acknowledge_documents)
    add("GET", "/queues/actions", actions)
    add("DELETE", "/queues/actions", acknowledge_actions)
    add("GET", "/files/{file_id}", download)
    add("POST", "/resolve_scope_list", resolve)
    add("POST", "/enrich_sources", enrich)


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    """A task as routes show it: without its errors."""
    return {name: value for name, value in task.items() if name not in ("errorMessage", "shown")}


def _add_tasks(routes: _Routes) -> None:
    state, tasks = routes.state, routes.state.tasks

    async def next_task(call: Call) -> Response:
        state.provide()
        found = tasks.next(call.parameters["providerIds"], call.parameters["taskTypeIds"])
        if found is None:
            return Response(status_code=204)
        return call.ok({"task": _shown(found[0]), "provider": {"name": found[1]}})

    async def next_batch(call: Call) -> Response:
        state.provide()
        batch: list[dict[str, Any]] = []
        while len(batch) < int(call.parameters.get("numberOfTasks", 1)):
            found = tasks.next(call.parameters["providerIds"], call.parameters["taskTypeIds"])
            if found is None:
                break
            batch.append({"task": _shown(found[0]), "provider": found[1]})
        return call.ok({"tasks": batch, "has_more": False})

    async def progress(call: Call) -> Response:
        return call.ok({"task": _shown(tasks.progress(int(call.parameters["task_id"]), call.parameters["progress"]))})

    async def result(call: Call) -> Response:
        named = call.parameters
        error, shown = named.get("errorMessage"), named.get("userFacingErrorMessage")
        return call.ok({"task": _shown(tasks.result(int(named["task_id"]), named.get("output"), error, shown))})

    async def stream_result(call: Call) -> Response:
        task = tasks.task(int(call.parameters["task_id"]))
        task["output"] = call.parameters["output"]
        return call.ok({"task": task})

    routes.add("GET", f"{PROVIDER}/next", "exapp", next_task)
    routes.add("GET", f"{PROVIDER}/next_batch", "exapp", next_batch)
    routes.add("POST", PROVIDER + "/{task_id}/progress", "exapp", progress)
    routes.add("POST", PROVIDER + "/{task_id}/result", "exapp", result)
    routes.add("POST", PROVIDER + "/{task_id}/stream-result", "exapp", stream_result)


def _add_text(routes: _Routes) -> None:
    state = routes.state

    async def schedule(call: Call) -> Response:
        now = state.world.now()
        since = [at for at in state.schedules.get(call.user, []) if at > now - _SCHEDULE_SECONDS]
        if len(since) >= _SCHEDULES_PER_USER:
            return Response(status_code=429)
        state.schedules[call.user] = [*since, now]
        return await schedule_unlimited(call)

    async def schedule_unlimited(call: Call) -> Response:
        state.provide()
        named = call.parameters
        task = state.tasks.schedule(named["type"], named["input"], call.user or None, named["appId"])
        return call.ok({"task": task})

    async def poll(call: Call) -> Response:
        task = state.tasks.poll(int(call.parameters["task_id"]))
        if task["userId"] != (call.user or None):
            raise Refused(404, {"message": "not found"})
        return call.ok({"task": task})

    async def cancel(call: Call) -> Response:
        return call.ok({"task": state.tasks.cancel(int(call.parameters["task_id"]))})

    routes.add("POST", f"{TASKS}/schedule", "user", schedule)
    routes.add("GET", TASKS + "/task/{task_id}", "user", poll)
    routes.add("POST", TASKS + "/tasks/{task_id}/cancel", "user", cancel)
    routes.add("POST", f"{TASKS}/tasks_consumer/schedule", "exapp", schedule_unlimited)
    routes.add("GET", TASKS + "/tasks_consumer/task/{task_id}", "exapp", poll)
    routes.add("POST", TASKS + "/tasks_consumer/tasks/{task_id}/cancel", "exapp", cancel)


def _add_controls(program: FastAPI, state: State) -> None:
    """What tests and people do; none of it is part of Nextcloud."""

    @program.post("/_double/world/{name}", response_model=None)
    async def world(name: str, request: Request) -> Any:
        return getattr(state.world, name)(**(await request.json()))

    @program.post("/_double/register")
    async def register(request: Request) -> dict[str, Any]:
        """`occ app_api:app:register ... --wait-finish`: the row, heartbeat, init; then wait for progress 100."""
        app = state.app = ExApp(**(await request.json()))
        if not await app.heartbeat():
            return {"exit_code": 1, "error": "no heartbeat"}
        await app.initialise()
        while app.init < 100 and not app.error:
            await asyncio.sleep(0.05)
        return {"exit_code": 1 if app.error else 0, "error": app.error}

    @program.post("/_double/enable")
    async def enable() -> bool:
        return state.app is not None and await state.app.enable()

    @program.post("/_double/disable")
    async def disable() -> bool:
        return state.app is not None and await state.app.disable()

    @program.post("/_double/unregister")
    async def unregister() -> bool:
        told = state.app is not None and await state.app.disable()
        state.app = None
        state.tasks.registered.clear()
        return told

    @program.post("/_double/app", response_model=None)
    async def change_app(request: Request) -> Any:
        """Change what AppAPI's database says of the app: a new secret or version. It may be one that runs nowhere."""
        state.app = state.app or ExApp("", "", "", "")
        for name, value in (await request.json()).items():
            setattr(state.app, name, value)

    @program.get("/_double/app", response_model=None)
    async def app() -> Any:
        return None if state.app is None else asdict(state.app)

    @program.post("/_double/companion/{method}", response_model=None)
    async def companion(method: str, request: Request) -> Any:
        assert state.app is not None
        return await getattr(state.app, method)((await request.json())["path"])

    @program.post("/_double/forget")
    async def forget() -> None:
        """Between two tests: no faults, no journal, tasks as at the beginning."""
        for memory in (state.faults, state.journal, state.log, state.schedules):
            memory.clear()
        state.tasks.settle()

    @program.post("/_double/faults")
    async def faults(request: Request) -> None:
        state.faults += [Fault(**fault) for fault in await request.json()]

    @program.get("/_double/faults", response_model=None)
    async def remaining() -> Any:
        return [asdict(fault) for fault in state.faults if fault.times > 0]

    @program.post("/_double/tasks", response_model=None)
    async def set_tasks(request: Request) -> Any:
        for name, value in (await request.json()).items():
            setattr(state.tasks, name, value)

    @program.post("/_double/schedule", response_model=None)
    async def schedule(request: Request) -> Any:
        """A user asks; when no task of the type is in work the ExApp is triggered."""
        asked = await request.json()
        state.provide()
        kind = asked["type"]
        running = state.tasks.is_running(kind)
        try:
            task = state.tasks.schedule(kind, asked["input"], asked["user"], "assistant")
        except Refused as refusal:
            return {"refused": refusal.status}
        if not running and state.app is not None and asked.get("trigger", True):
            sending = asyncio.create_task(state.app.trigger(str(state.tasks.provider_of(kind))))
            state.background.add(sending)
            sending.add_done_callback(state.background.discard)
        return task

    @program.get("/_double/task/{task_id}", response_model=None)
    async def task(task_id: int) -> Any:
        return state.tasks.tasks.get(task_id)

    @program.get("/_double/tasks", response_model=None)
    async def all_tasks() -> Any:
        return {"tasks": list(state.tasks.tasks.values()), "registered": state.tasks.registered}

    @program.post("/_double/cancel/{task_id}", response_model=None)
    async def cancel(task_id: int) -> Any:
        return state.tasks.cancel(task_id)

    @program.get("/_double/journal", response_model=None)
    async def journal() -> Any:
        return state.journal

    @program.get("/_double/log", response_model=None)
    async def log() -> Any:
        return state.log
