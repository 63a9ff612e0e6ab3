# SPDX-License-Identifier: AGPL-3.0-or-later
"""Changes of readers as the companion writes them: in requests (contract push-4x 2.3) and in rows (pull-5x 7)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from context_chat_backend.exapp.wire import Text


class UserId(BaseModel):
    """A user."""

    userId: Text  # noqa: N815


class UpdateAccess(BaseModel):
    """Grant or revoke one source."""

    op: Literal["allow", "deny"]
    userIds: list[Text]  # noqa: N815
    sourceId: Text  # noqa: N815


class UpdateAccessProvider(BaseModel):
    """Grant or revoke a provider."""

    op: Literal["allow", "deny"]
    userIds: list[Text]  # noqa: N815
    providerId: Text  # noqa: N815


class UpdateAccessDeclarative(BaseModel):
    """The readers of one source."""

    userIds: list[Text]  # noqa: N815
    sourceId: Text  # noqa: N815
