# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who calls: the headers AppAPI signs every request with (contract appapi 2.1); asked on all its routes (ruling 20).

Whatever is wrong with them the answer is 401, 429 where an address goes on and on, and nothing of them is printed or
logged.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from context_chat_backend.config import AppSettings, Config
from context_chat_backend.logs import get_logger
from context_chat_backend.web.administrators import bearer_of, is_administrators
from context_chat_backend.web.bodies import BoundedRequest
from context_chat_backend.web.errors import Refusal, again_in
from context_chat_backend.web.throttle import address_of, throttle_of

_log = get_logger(__name__)


class NextcloudRoute(APIRoute):
    """A route for the Nextcloud this app is registered with. Others are refused before their body is read."""

    body_limit = "nextcloud_body_bytes"
    """Which of the limits its bodies have."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's place for what comes before the body (a dependency would run after it)."""
        answer = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            config: Config = request.app.state.backend.config
            app = config.app
            if not app.disable_aaa and not self.lets_in(request.headers, app):
                wait = throttle_of(request).refused(address_of(request))
                if wait is not None:
                    raise Refusal(429, "not authenticated, too often in this minute", again_in(wait))
                _log.warning("not_authenticated", path=self.path)
                raise Refusal(401, "not authenticated")
            most = getattr(config.limits, self.body_limit)
            # The companion takes a 4xx for done: what may succeed another time answers 5xx.
            return await answer(BoundedRequest(request, most, config.limits, slow_status=503))

        return authenticated

    def lets_in(self, headers: Mapping[str, str], app: AppSettings) -> bool:
        """Whether a request with these headers may go on."""
        return acting_user(headers, app) is not None


class AdministratorRoute(NextcloudRoute):
    """A route for administrators' tools: by the token of administrators, or by a call of the Nextcloud system itself.

    AppAPI signs what its proxy carries for a browser with the name of the user: that is refused, whoever it is
    (ruling 29). appinfo/info.xml lets none of these routes through the proxy in the first place.
    """

    def lets_in(self, headers: Mapping[str, str], app: AppSettings) -> bool:
        """By `Authorization: Bearer <ADMIN_TOKEN>`; one that is sent and wrong is not made good by other headers."""
        token = bearer_of(headers)
        return acting_user(headers, app) == "" if token is None else is_administrators(token, app)


def acting_user(headers: Mapping[str, str], app: AppSettings) -> str | None:
    """The user a call is made for, '' for a call of the system; None when it does not come from our Nextcloud.

    The secret is compared in constant time, the version not at all: it may be older than ours after an update.
    """
    if app.secret is None or headers.get("ex-app-id") != app.id or not headers.get("ex-app-version"):
        return None
    try:
        decoded = base64.b64decode(headers.get("authorization-app-api", "").encode("ascii"), validate=True)
        user = decoded.partition(b":")[0].decode("utf-8")
    except (binascii.Error, UnicodeError):
        return None
    _, colon, secret = decoded.partition(b":")
    expected = app.secret.reveal().encode("utf-8")
    return user if hmac.compare_digest(secret, expected) and colon and expected else None
