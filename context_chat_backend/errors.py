# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every error the program raises on purpose.

    ContextChatError
    ├── ConfigurationError    the administrator must act; the start stops
    ├── StartError            something of this machine is in the way (port, disk, folder); the start stops
    ├── InvalidRequest        the caller must change the request; shown to him
    │   ├── PromptTooLong
    │   ├── ModelNotFound
    │   └── CursorOutOfRange
    ├── Unavailable           try again: something is down or full
    │   ├── DatabaseUnavailable
    │   │   └── DiskFull          what is to be stored finds no room
    │   ├── ModelUnavailable
    │   │   └── WritingRefused    the reason is one its user understands; shown to him
    │   ├── ModelNotFetched
    │   ├── SpaceGone
    │   ├── NextcloudUnavailable
    │   ├── FileUnreadable
    │   ├── LeaseLost
    │   ├── WaitingListFull
    │   └── TooManyAtOnce
    ├── TextRefused           the model takes this text in no length, now or later
    └── SourceRejected        this version of this source cannot be indexed; carries a Reason
        └── ParserKilled      its parser died or had to be stopped: tried once more, then quarantined

`retry` says whether the same call may succeed later. `public` says whether the text may be shown to the
caller; the text of all others goes to the log only. No text holds users' content or secrets.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from pathlib import Path

from context_chat_backend.domain import Reason


class ContextChatError(Exception):
    """Base of all errors of this program."""

    retry: bool = False
    public: bool = False


class ConfigurationError(ContextChatError):
    """The configuration cannot be used. The text names the key and the cure."""


class StartError(ContextChatError):
    """The program cannot start here. The text says what is in the way and what to do."""

    @classmethod
    def not_writable(cls, storage: Path, error: OSError) -> StartError:
        """For a storage that cannot be written to: missing rights, a full disk, a file in its place."""
        return cls(
            f"{storage} cannot be written to ({error.strerror}): give this user the folder, make room on its disk, or "
            "set APP_PERSISTENT_STORAGE to another one"
        )


class InvalidRequest(ContextChatError):
    """The request cannot be understood. The text names the field and the cure."""

    public = True


class PromptTooLong(InvalidRequest):
    """The question is longer than the language model reads.

    A model raises it when its server says so; from then on its `context_tokens` and `count_tokens` know better, so
    that a prompt built anew is shorter.
    """


class ModelNotFound(InvalidRequest):
    """There is no model of the name that was asked for."""


class CursorOutOfRange(InvalidRequest):
    """A cursor stands where its file has no place."""


class Unavailable(ContextChatError):
    """Something needed is not there right now."""

    retry = True


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""


class DiskFull(DatabaseUnavailable):
    """What is to be stored finds no room on its disk."""


def finds_no_room(error: BaseException) -> bool:
    """Whether a disk is full, the database's or the one with our own files."""
    return isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))


class ModelFailure(StrEnum):
    """Why a model does not answer, as far as it is known: programs that ask decide by it when to try again."""

    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"
    """Nobody listens where its server should be."""
    LOADING = "loading"
    """Its server is still reading it from the disk."""
    TIMEOUT = "timeout"
    AUTHENTICATION = "authentication"
    """Its server does not take the key that is configured for it."""
    BROKEN = "broken"
    """What its server answers is an error, or cannot be understood."""


class ModelUnavailable(Unavailable):
    """A model does not answer."""

    def __init__(self, text: str, failure: ModelFailure = ModelFailure.UNAVAILABLE) -> None:
        super().__init__(text)
        self.failure = failure


class ModelNotFetched(Unavailable):
    """The files of a model cannot be fetched. The text says why, and what to do."""


class SpaceGone(Unavailable):
    """The embedding space that was to be searched was dropped: another one answers."""


class WritingRefused(ModelUnavailable):
    """No text is written, for a reason the user may be told: nobody writes here, or he asked too often."""

    public = True


class NextcloudUnavailable(Unavailable):
    """Nextcloud does not answer, answers what cannot be read, or does not take us for its app just now."""

    def __init__(
        self, text: str, *, status: int | None = None, retry_after: float | None = None, asked: bool = True
    ) -> None:
        """`status` is None where no answer came or what came cannot be read; `retry_after` is in seconds.

        `asked` is false where it cannot have heard the request.
        """
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after
        self.asked = asked

    @property
    def may_have_acted(self) -> bool:
        """Whether what was asked for may have been done all the same; a proxy answers 502 and 504 by itself."""
        return self.asked and (self.status is None or (self.status >= 500 and self.status != 503))


class FileUnreadable(Unavailable):
    """A file of Nextcloud is there and cannot be opened now: it is locked, or its storage or keys are missing."""


class LeaseLost(Unavailable):
    """Another process has taken over the work of this one, which said nothing for too long."""


class FileUnseen(ContextChatError):
    """A file of Nextcloud is there for none of those in whose names it was asked for."""

    def __init__(self, users: frozenset[str]) -> None:
        super().__init__("none of its readers sees it")
        self.users = users


class WaitingListFull(Unavailable):
    """The waiting list holds as many sources or bytes as it may."""


class TooManyAtOnce(Unavailable):
    """As many requests as may be are with the models already."""


class TextRefused(ContextChatError):
    """A model takes this text in no length, now or later."""


class SourceRejected(ContextChatError):
    """This version of a source cannot be indexed, now or later."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class ParserKilled(SourceRejected):
    """The process that read this source died or had to be stopped. The machine may be to blame: once is no verdict."""
