# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which step of the script an answer is, and the answer as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.model_double.dialects import DIALECTS, USAGE
from tests.model_double.faults import FAULTS, overflow, tokens
from tests.model_double.protocol import Asked, Connection

Step = Mapping[str, Any]
_LOADING: Step = {
    "fault": "status", "status": 503, "error": {"type": "unavailable_error", "message": "Loading model"}
}  # fmt: skip
_SWITCHES: Mapping[str, Step] = {
    "#slow": {"fault": "silence"},
    "#500": {"fault": "status", "status": 500},
    "#loading": _LOADING,
    "#overflow": {"n_ctx": 512},
    "#cut": {"fault": "cut"},
    "#think": {"thinks": "hm"},
    "#echo": {"echoes": True},
}
"""By a word in what is asked."""
MODELS: Mapping[str, Step] = {
    "stub-echo": {"echoes": True},
    "stub-fixed": {"says": '    print("Hello")\n'},
    "stub-slow": {"fault": "silence", "seconds": 60},
    "stub-500": {"fault": "status", "status": 500},
    "stub-401": {"fault": "status", "status": 401, "error": {"message": "Incorrect API key provided"}},
    "stub-html": {"fault": "page"},
    "stub-loading": _LOADING,
    "stub-drip": {"fault": "drip"},
}
"""By the name of the model that is asked."""


class Writing:
    """The script, or a script for each model."""

    def __init__(self) -> None:
        self._script: list[Step] = []
        self._of_models: dict[str, list[Step]] = {}

    def follow(self, script: Any) -> None:
        """A list of steps for all models, or a list for each by its name; the last step of a list is for ever."""
        by_model = isinstance(script, Mapping)
        self._script = [] if by_model else list(script)
        self._of_models = {name: list(steps) for name, steps in script.items()} if by_model else {}

    def next_step(self, body: Mapping[str, Any], said: str) -> Step:
        """What comes now."""
        steps = self._of_models.get(str(body.get("model", "")), self._script)
        if steps:
            return steps.pop(0) if len(steps) > 1 else steps[0]
        by_name = MODELS.get(str(body.get("model", "")))
        return by_name or next((step for word, step in _SWITCHES.items() if word in said), {})

    async def answer(self, asked: Asked, to: Connection) -> None:
        """A generation."""
        body = asked.body
        to.dialect = DIALECTS[asked.path]
        said = to.dialect.asked(body)
        step = self.next_step(body, said)
        if "n_ctx" in step and tokens(body) > step["n_ctx"]:
            await overflow(to, step, body)
        elif "fault" in step:
            await FAULTS[step["fault"]](to, step, body)
        else:
            await _say({**step, "says": said} if step.get("echoes") else step, body, to)


async def _say(step: Step, body: Mapping[str, Any], to: Connection) -> None:
    text = str(step.get("says", "stub answer"))
    if not to.dialect.streams(body):
        prompts = body.get("prompt")
        choices = int(body.get("n") or 1) * (len(prompts) if isinstance(prompts, list) else 1)
        await to.json(to.dialect.whole(body, [text] * choices, step))
        return
    quarter = max(1, -(-len(text) // 4))
    pieces = step.get("pieces") or [text[start : start + quarter] for start in range(0, len(text), quarter)]
    await to.begin()
    await to.piece(body, None, role="assistant")
    if "thinks" in step:
        await to.piece(body, None, reasoning_content=step["thinks"])
    if "calls" in step:
        await to.piece(body, None, tool_calls=step["calls"])
    for piece in pieces:
        await to.piece(body, piece)
        if "seconds" in step:
            await to.pause(float(step["seconds"]))
    await to.raw(to.dialect.end(body, step.get("finish", "stop"), step.get("usage", USAGE)))
