# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators leave out is left out, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from context_chat_backend.errors import ConfigurationError
from context_chat_backend.exclusions import Exclusions, read_exclusions

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def leaves_out(rules: Any, **source: Any) -> bool:
    told: dict[str, Any] = {
        "path": "files/Projects/report.txt",
        "media_type": "text/plain",
        "provider": "files__default",
        "size": 100,
        "modified_at": NOW - timedelta(days=10),
    } | source
    return read_exclusions(rules).leave_out(**told, now=NOW)


@pytest.mark.parametrize(
    ("glob", "path", "left_out"),
    [
        ("*.log", "files/a/b.log", True),
        ("*.log", "files/a/b.log.txt", False),
        ("node_modules", "files/web/node_modules/x/readme.md", True),
        ("node_modules", "files/web/my_node_modules/readme.md", False),
        ("files/Private", "files/Private/a/b.txt", True),
        ("files/Private", "files/Private2/b.txt", False),
        ("/files/Private/", "files/Private/b.txt", True),
        ("files/*/Trash", "files/alice/Trash/b.txt", True),
        ("files/*/Trash", "files/alice/old/Trash/b.txt", False),
        ("files/**/Trash", "files/alice/old/Trash/b.txt", True),
        ("files/**/Trash", "files/Trash/b.txt", True),
        ("**/*.tmp", "a.tmp", True),
        ("files/a?c.txt", "files/abc.txt", True),
        ("files/a?c.txt", "files/a/c.txt", False),
        ("a+(b).txt", "files/a+(b).txt", True),
        ("*.LOG", "files/a.log", False),
    ],
)
def test_globs_on_paths(glob: str, path: str, left_out: bool) -> None:
    assert leaves_out({"paths": [glob]}, path=path) is left_out


@pytest.mark.parametrize("mark", [".noindex", ".nomedia"])
def test_marked_folders_are_left_out_without_any_rule(mark: str) -> None:
    assert leaves_out(None, path=f"files/a/{mark}/b.txt")
    assert leaves_out(None, path=f"files/a/{mark}")
    assert not leaves_out(None, path=f"files/a{mark}/b.txt")


def test_media_types_providers_size_and_age() -> None:
    assert leaves_out({"media_types": ["text/*"]}, media_type="TEXT/Plain; charset=utf-8")
    assert not leaves_out({"media_types": ["video/*"]})
    assert leaves_out({"providers": "mail__*"}, provider="mail__mail")
    assert not leaves_out({"providers": ["mail__*"]})
    assert leaves_out({"larger_than": 99})
    assert not leaves_out({"larger_than": 100})
    assert leaves_out({"older_than_days": 9})
    assert not leaves_out({"older_than_days": 10})


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("*.log", "exclude: expected rules below it"),
        ({"path": ["x"]}, "exclude.path: there is no such rule"),
        ({"paths": [1]}, "exclude.paths: expected a list of texts"),
        ({"paths": {"a": 1}}, "exclude.paths: expected a list of texts"),
        ({"larger_than": "9 MB"}, "exclude.larger_than: expected a whole number"),
        ({"older_than_days": 0}, "exclude.older_than_days: expected a whole number"),
        ({"older_than_days": 10**9}, "exclude.older_than_days: expected at most"),
    ],
)
def test_wrong_rules_name_the_key(rules: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_exclusions(rules)


def test_other_rules_have_another_digest() -> None:
    assert Exclusions(paths=("a",)).digest == Exclusions(paths=("a",)).digest
    assert Exclusions(paths=("a",)).digest != Exclusions(providers=("a",)).digest
