# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud writes: a task of text generation in the name of whoever asks (contract taskprocessing 5)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import Any

from context_chat_backend.domain import Ended, Finish, Prompt, Realm
from context_chat_backend.errors import ModelUnavailable, NextcloudUnavailable, WritingRefused
from context_chat_backend.nextcloud.client import NextcloudClient
from context_chat_backend.token_estimates import careful_tokens

_PATH = "/ocs/v1.php/taskprocessing"
_CANCEL_PATH = "/ocs/v2.php/taskprocessing/tasks"
_FIRST_LOOK_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0
_GROWTH = 1.3
_SHOWING_PAUSE_SECONDS = 1.0
_RATE_LIMIT_SECONDS = 150.0
"""Nextcloud counts a user's tasks over 120 s."""
_RATE_PAUSE_SECONDS = 10.0
_SCHEDULE_TRIES = 3
_CANCEL_SECONDS = 3.0


class NextcloudWriter:
    """Text generation by whatever provider Nextcloud's administrator has installed."""

    name = "nc_texttotext"

    def __init__(
        self,
        client: NextcloudClient,
        *,
        context_tokens: int = 8192,
        answer_tokens: int = 1024,
        writing_seconds: float = 1800.0,
    ) -> None:
        """`context_tokens` is what the installed model reads and writes together; Nextcloud tells neither.

        A text that takes longer than `writing_seconds` is given up.
        """
        self._client = client
        self._writing_seconds = writing_seconds
        self._context_tokens = context_tokens
        self.answer_tokens = answer_tokens

    async def context_tokens(self) -> int:
        """See ports.LanguageModel."""
        return self._context_tokens

    async def check(self) -> None:
        """See ports.LanguageModel. Nextcloud tells that only to a task, of which each user has few."""

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """A careful estimate: which model writes is not known here."""
        return [careful_tokens(text) for text in texts]

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Ended, None]:
        """The text: as it is written since Nextcloud 35, in one piece before.

        Whoever stops reading it cancels the task. Raises ModelUnavailable.
        """
        if prompt.asker is None or prompt.asker.realm != Realm.NEXTCLOUD:
            raise WritingRefused("Nextcloud writes for its own users only: configure another language model beside it")
        user = prompt.asker.name
        task_id = await self._begin("\n\n".join(message.text for message in prompt.messages), user)
        until = time.monotonic() + self._writing_seconds
        text, shown, written = "", "", False
        try:
            while not written:
                text, written = await self._more(task_id, user, shown, until)
                if not text.startswith(shown):
                    break
                if text != shown:
                    yield text[len(shown) :]
                shown = text
        except TimeoutError:
            minutes = round(self._writing_seconds / 60)
            raise WritingRefused(
                f"Nextcloud's text generation took longer than {minutes} minutes; try again later"
            ) from None
        except ModelUnavailable:
            written = True  # as far as it ever will be
            raise
        finally:
            if not written:
                await self._cancel(task_id, user)
        if not text.startswith(shown):
            raise WritingRefused("Nextcloud's text generation took back what it had written; ask again")
        yield Ended(Finish.STOP)

    async def close(self) -> None:
        """The connections belong to the client."""

    async def _schedule(self, text: str, user: str) -> int:
        asked = {
            "type": "core:text2text",
            "appId": "context_chat_backend",
            "input": {"input": text},
            "preferStreaming": True,  # Nextclouds before 35 pass it over
        }
        limited_until = time.monotonic() + _RATE_LIMIT_SECONDS
        tries = 0
        while True:
            try:
                answer = await self._client.call("POST", f"{_PATH}/schedule", json=asked, user=user)
                break
            except NextcloudUnavailable as error:
                if error.status == 429 and time.monotonic() < limited_until:
                    await asyncio.sleep(max(_RATE_PAUSE_SECONDS, error.retry_after or 0))
                    continue
                tries += 1
                if error.status == 429 or error.status == 401 or tries == _SCHEDULE_TRIES:
                    raise _refusal(error.status) from error
                await asyncio.sleep(tries)
        if not answer.ok:
            raise _refusal(answer.status)
        try:
            return int(answer.data["task"]["id"])
        except (KeyError, TypeError, ValueError):
            raise ModelUnavailable("Nextcloud's answer to a scheduled task cannot be read") from None

    async def _begin(self, text: str, user: str) -> int:
        """Schedule; a task that is scheduled while nobody wants it any more is cancelled."""
        scheduling = asyncio.create_task(self._schedule(text, user))
        try:
            return await asyncio.shield(scheduling)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait([scheduling], timeout=_CANCEL_SECONDS)
            scheduling.cancel()
            if done and scheduling.exception() is None:
                await self._cancel(scheduling.result(), user)
            raise

    async def _more(self, task_id: int, user: str, shown: str, until: float) -> tuple[str, bool]:
        """What is written when that is more than was shown, and whether it is all. Raises TimeoutError."""
        longest = _SHOWING_PAUSE_SECONDS if shown else _LONGEST_PAUSE_SECONDS
        pause = min(longest, _SHOWING_PAUSE_SECONDS if shown else _FIRST_LOOK_SECONDS)
        while True:
            if time.monotonic() > until:
                raise TimeoutError
            await asyncio.sleep(pause)
            pause = min(longest, _GROWTH * pause)
            try:
                answer = await self._client.call("GET", f"{_PATH}/task/{task_id}", user=user)
            except NextcloudUnavailable:
                continue  # the task goes on without us
            if not answer.ok:
                raise ModelUnavailable(f"Nextcloud's task of text generation is gone ({answer.status})")
            found = answer.data.get("task") if isinstance(answer.data, dict) else None
            task = found if isinstance(found, dict) else {}
            if (text := _text(task)) is not None:
                return text, True
            if (text := _output(task)) and text != shown:
                return text, False

    async def _cancel(self, task_id: int, user: str) -> None:
        with suppress(NextcloudUnavailable):
            await self._client.call("POST", f"{_CANCEL_PATH}/{task_id}/cancel", user=user, seconds=_CANCEL_SECONDS)


def _text(task: dict[str, Any]) -> str | None:
    """What was written; None while it is not. Raises ModelUnavailable when it never will be."""
    match task.get("status"):
        case "STATUS_SUCCESSFUL":
            if (text := _output(task)) is None:
                raise ModelUnavailable("Nextcloud's text generation returned no text")
            return text
        case "STATUS_FAILED":
            raise WritingRefused("Nextcloud's text generation has failed; try again, or ask your administrator")
        case "STATUS_CANCELLED":
            raise WritingRefused("Nextcloud's text generation was cancelled")
    return None


def _output(task: dict[str, Any]) -> str | None:
    output = task.get("output")
    text = output.get("output") if isinstance(output, dict) else None
    return text if isinstance(text, str) else None


def _refusal(status: int | None) -> ModelUnavailable:
    match status:
        case 412:
            return WritingRefused(
                "Nextcloud has no app that generates text: the administrator installs one, for example llm2 or "
                "integration_openai"
            )
        case 429:
            return WritingRefused("You have asked too often in a short time; try again in two minutes")
        case 401:
            return WritingRefused("Nextcloud does not generate text for this user")
        case 400:
            return WritingRefused("Nextcloud's text generation does not take this question; shorten it")
    return ModelUnavailable("Nextcloud takes no task of text generation now")
