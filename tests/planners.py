# SPDX-License-Identifier: AGPL-3.0-or-later
"""The real program with the planner's surface and the sample catalogues, and users with tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg

from tests.ports import free_port
from tests.program import Program
from tests.waiting import until

JWT_SECRET = "a secret of forty bytes for tokens of tests"


def token(user: str, secret: str = JWT_SECRET, **changes: Any) -> str:
    """What Supabase gives a user who has signed in."""
    claims = {"sub": user, "aud": "authenticated", "exp": int(time.time()) + 600} | changes
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, "HS256")


class PlannerClient:
    """A user of a planner."""

    def __init__(self, url: str, user: str | None) -> None:
        headers = {} if user is None else {"Authorization": f"Bearer {token(user)}"}
        self.http = httpx.Client(base_url=f"{url}/api/v1", headers=headers, timeout=60)

    def start(self) -> str:
        answer = self.http.post("/chat/start")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["conversation_id"])

    def say(self, message: str, conversation: str | None = None) -> Any:
        """The answer to a message, in a new conversation where none is named."""
        body = {"conversation_id": conversation or self.start(), "message": message}
        answer = self.http.post("/chat/message", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def tool(self, name: str, arguments: Any) -> httpx.Response:
        return self.http.post(f"/tools/{name}", json=arguments)

    def found(self, name: str, arguments: Any) -> Any:
        answer = self.tool(name, arguments)
        assert answer.status_code == 200, answer.text
        return answer.json()


class RunningPlanner:
    """A program that serves plans."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.url = f"http://127.0.0.1:{port}"

    def user(self, name: str | None) -> PlannerClient:
        return PlannerClient(self.url, name)

    def command(self, *arguments: str) -> str:
        return self.program.run_command("planner", *arguments)

    @contextmanager
    def restarted(self, **environment: str) -> Iterator[None]:
        """The same program with another environment; afterwards as it was."""
        before = self.program.environment
        try:
            self._restart(dict(before) | environment)
            yield
        finally:
            self._restart(before)

    def _restart(self, environment: dict[str, str]) -> None:
        self.program.stop()
        self.program.environment = environment
        self.program.start()


@contextmanager
def planning(
    storage: Path,
    database_url: str,
    *,
    more: str = "",
    llm: str = "  extractive:\n",
    environment: Mapping[str, str] | None = None,
    samples: bool = True,
) -> Iterator[RunningPlanner]:
    """The program with the surface 'planner'; `more` are further lines of the configuration."""
    port = free_port()
    (storage / "config.yaml").write_text(
        f"embedding:\n  hashing:\nllm:\n{llm}{more}listeners:\n  - port: {port}\n    surfaces: [planner]\n",
        encoding="utf-8",
    )
    told = {"CCB_DB_URL": database_url, "SUPABASE_JWT_SECRET": JWT_SECRET} | dict(environment or {})
    with Program(storage, told, forked=True) as program:
        planner = RunningPlanner(program, port)
        if samples:
            planner.command("sample-data")
        yield planner


def uses(database_url: str, user: str, count: int) -> list[tuple[Any, ...]]:
    """What is booked on somebody, once there are so many rows: they are written after the answer."""
    columns = "surface, model, prompt_tokens, completion_tokens, status"
    query = f"SELECT {columns} FROM access.usage WHERE split_part(principal, ':', -1) = %s ORDER BY at"
    with psycopg.connect(database_url, autocommit=True) as connection:

        def booked() -> list[tuple[Any, ...]]:
            return connection.execute(query.encode(), [user]).fetchall()

        until(lambda: len(booked()) >= count, said=lambda: f"{user} has not used it {count} times")
        return booked()


def facts(database_url: str) -> dict[str, Any]:
    """What the catalogues hold, for comparison with plans."""
    with psycopg.connect(database_url) as connection:
        instances = connection.execute(
            "SELECT id, provider, name, region, price_monthly, price_hourly, vram_gb FROM cloud.instances"
        ).fetchall()
        packages = connection.execute("SELECT name, version FROM cloud.bitnami_packages").fetchall()
        models = connection.execute("SELECT model_id FROM hf.models").fetchall()
    return {
        "instances": {row[0]: row for row in instances},
        "packages": set(packages),
        "models": {row[0] for row in models},
    }


def assert_grounded(plan: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Every id, name, version and price of a plan is one of the catalogues."""
    for one in plan["gpu_recommendations"]:
        row = known["instances"][one["id"]]
        assert (one["provider"], one["name"], one["region"]) == row[1:4]
        assert one["price_monthly"] == (None if row[4] is None else float(row[4]))
        assert one["price_hourly"] == (None if row[5] is None else float(row[5]))
        assert one["vram_gb"] == float(row[6])
    for one in plan["model_recommendations"]:
        assert one["model_id"] in known["models"]
    for one in plan["kubernetes_stack"]:
        assert (one["name"], one["version"]) in known["packages"]
    cost = plan["cost_estimate"]
    if cost["items"]:
        assert cost["items"][0]["unit_price"] == plan["gpu_recommendations"][0]["price_monthly"]
    assert cost["monthly_total"] is None or cost["monthly_total"] == sum(item["monthly"] for item in cost["items"])


def as_bytes(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()
