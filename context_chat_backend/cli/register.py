# SPDX-License-Identifier: AGPL-3.0-or-later
"""`register`: what an administrator types at Nextcloud to make this program known there."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from xml.etree import ElementTree

from context_chat_backend import config
from context_chat_backend.cli.show import complaints
from context_chat_backend.cli.start import ROOT
from context_chat_backend.config import AppSettings
from context_chat_backend.settings.environment import read_environment

_ACCESS_LEVELS = {"PUBLIC": 0, "USER": 1, "ADMIN": 2}
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared with, not listened on


def register() -> None:
    """Print the occ lines that register this program with Nextcloud (manual install), its secret included."""
    app = config.load(read_environment(Path.cwd()), cores=1).app
    for line in occ_lines(app, ROOT / "appinfo" / "info.xml"):
        print(line)
    if app.secret is None:
        complaints.print("APP_SECRET is not set: choose one, set it here, and write it in place of <APP_SECRET>.")


def occ_lines(app: AppSettings, description: Path) -> list[str]:
    """The commands, in their order, for a shell; <words> stand for what is not known here.

    `description` is the info.xml that names the routes. Raises OSError where it is missing.
    """
    host = "<host of the backend>" if app.host in _EVERYWHERE else app.host
    daemon = ["--net", "host", "manual_install", "Manual Install", "manual-install", "http"]
    told = {
        "id": app.id,
        "name": "Context Chat Backend",
        "version": app.version,
        "port": app.port,
        "secret": "<APP_SECRET>" if app.secret is None else app.secret.reveal(),
        "routes": _routes(description),
    }
    told_as_json = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    return [
        shlex.join(["occ", "app_api:daemon:register", *daemon, host, app.nextcloud_url or "<URL of Nextcloud>"]),
        shlex.join(
            ["occ", "app_api:app:register", app.id, "manual_install", "--wait-finish", "--json-info", told_as_json]
        ),
    ]


def _routes(description: Path) -> list[dict[str, object]]:
    """What Nextcloud's browser users may reach, as --json-info wants it."""
    root = ElementTree.parse(description).getroot()  # noqa: S314  # our own file
    return [
        {
            "url": route.findtext("url"),
            "verb": route.findtext("verb"),
            "access_level": _ACCESS_LEVELS[route.findtext("access_level") or "ADMIN"],
            "headers_to_exclude": json.loads(route.findtext("headers_to_exclude") or "[]"),
            "bruteforce_protection": json.loads(route.findtext("bruteforce_protection") or "[]"),
        }
        for route in root.findall("external-app/routes/route")
    ]
