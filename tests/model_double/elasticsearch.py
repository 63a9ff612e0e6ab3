# SPDX-License-Identifier: AGPL-3.0-or-later
"""The little of Elasticsearch that a program writes to: an index, made when it is missing, and `_bulk`.

What it holds is told by `GET /double/elasticsearch`; a list of steps posted there says what becomes of the next bulks:
`{"status": 503}` refuses one as a whole, `{"rejects": [0, 2], "item_status": 429}` some of its documents,
`{"fault": "silence"}` or `{"fault": "hang_up"}` breaks it; afterwards all are taken. `{"authorization": "Basic …"}` in
`/double/server` is what every request must carry.
"""

from __future__ import annotations

from typing import Any

from tests.model_double.faults import FAULTS
from tests.model_double.protocol import Asked, Connection


class Elasticsearch:
    """One node."""

    def __init__(self) -> None:
        self.indexes: dict[str, Any] = {}
        self.documents: list[dict[str, Any]] = []
        self.bulks: list[int] = []
        """How many documents each bulk held that was taken."""
        self.steps: list[dict[str, Any]] = []

    @property
    def told(self) -> dict[str, Any]:
        """What it holds."""
        return {"indexes": self.indexes, "documents": self.documents, "bulks": self.bulks}

    def forget(self, steps: list[dict[str, Any]]) -> None:
        """Begin anew, with `steps` for the next bulks."""
        self.__init__()  # type: ignore[misc]
        self.steps = list(steps)

    async def answer(self, asked: Asked, to: Connection) -> None:
        """A request that is none of a model server's."""
        path = asked.path.partition("?")[0].strip("/")
        if path == "":
            await to.json({"version": {"number": "8.13.4"}, "tagline": "You Know, for Search"})
        elif path == "_cluster/health":
            await to.json({"status": "green"})
        elif path.endswith("_bulk") and asked.method in ("POST", "PUT"):
            await self._bulk(path.removesuffix("_bulk").strip("/"), asked, to)
        else:
            await self._index(path, asked, to)

    async def _index(self, name: str, asked: Asked, to: Connection) -> None:
        there = name in self.indexes
        match asked.method:
            case "HEAD" | "GET":
                await to.json(self.indexes.get(name, {}), 200 if there else 404)
            case "PUT" if there:
                error = {"type": "resource_already_exists_exception", "reason": f"index [{name}] already exists"}
                await to.json({"error": error, "status": 400}, 400)
            case "PUT":
                self.indexes[name] = asked.body or {}
                await to.json({"acknowledged": True, "index": name})
            case _:
                await to.json({"error": {"type": "illegal_argument_exception"}, "status": 405}, 405)

    async def _bulk(self, index: str, asked: Asked, to: Connection) -> None:
        step = self.steps.pop(0) if self.steps else {}
        if "fault" in step or "status" in step:
            await FAULTS[step.get("fault", "status")](to, step, {})
            return
        items: list[dict[str, Any]] = []
        lines = list(asked.body)
        for number, (action, document) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
            ((verb, told),) = action.items()
            place = told.get("_index", index)
            if number in step.get("rejects", ()):
                error = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
                items.append({verb: {"_index": place, "status": int(step.get("item_status", 429)), "error": error}})
                continue
            self.documents.append({"_index": place, "_id": told.get("_id"), **document})
            items.append({verb: {"_index": place, "_id": told.get("_id", str(number)), "status": 201}})
        self.bulks.append(sum("error" not in item for one in items for item in one.values()))
        await to.json({"took": 1, "errors": bool(step.get("rejects")), "items": items})
