# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversations of the real program over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.model_double.client import running_double
from tests.ports import free_port
from tests.program import Program
from tests.programs import Service, serving

FIRST = "What was the budget of the roof repair in 2022?"


@pytest.fixture(scope="module")
def service(module_storage: Path, module_database_url: str) -> Iterator[Service]:
    """alice reads the collection town; the model is a double."""
    told = {"town": ("alice", "The budget of the roof repair was 4,000 euros.")}
    with serving(module_storage, module_database_url, told) as service:
        yield service


@pytest.fixture(scope="module")
def alice(service: Service) -> str:
    return service.key("--user", "alice")


def begun(service: Service, key: str) -> str:
    answer = service.post(key, {}, "/v1/conversations")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def ask(service: Service, key: str, conversation: str, text: str, **more: Any) -> Any:
    body = {"messages": [{"role": "user", "content": text}], "retrieval": True, "conversation": conversation} | more
    return service.post(key, body)


def get(service: Service, key: str, path: str) -> Any:
    return service.http.get(path, headers={"Authorization": f"Bearer {key}"})


def delete(service: Service, key: str, path: str) -> Any:
    return service.http.delete(path, headers={"Authorization": f"Bearer {key}"})


def test_a_follow_up_in_a_conversation_is_understood_and_both_turns_are_kept(service: Service, alice: str) -> None:
    service.double.script(
        {"says": "It was 4,000 euros [1]."},
        {"says": "What was the budget of the roof repair in 2023?"},
        {"says": "That is not said."},
    )
    conversation = begun(service, alice)
    first = ask(service, alice, conversation, FIRST).json()
    ask(service, alice, conversation, "and in 2023?", stream=True)

    assert first["context_chat"]["conversation"] == conversation
    answered, rewritten, again = (asked["body"]["messages"] for asked in service.double.requests)
    assert len(answered) == 2
    assert rewritten[1]["content"].endswith("Last question of the user: and in 2023?")
    assert [message["content"] for message in again[1:3]] == [FIRST, "It was 4,000 euros."]
    assert again[3]["content"].endswith("Question: and in 2023?")
    whole = get(service, alice, f"/v1/conversations/{conversation}").json()
    assert whole["title"] == FIRST
    assert [(message["role"], message["content"], message["hidden"]) for message in whole["messages"]] == [
        ("user", FIRST, False),
        ("assistant", "It was 4,000 euros [1].", False),
        ("user", "and in 2023?", False),
        ("assistant", "That is not said.", False),
    ]


def test_turns_without_documents_are_kept_too(service: Service, alice: str) -> None:
    service.double.script({"says": "Hello, Ann."})
    conversation = begun(service, alice)

    ask(service, alice, conversation, "I am Ann.", retrieval=False)
    ask(service, alice, conversation, "Who am I?", retrieval=False)

    said = [message["content"] for message in service.double.requests[-1]["body"]["messages"][1:]]
    assert said == ["I am Ann.", "Hello, Ann.", "Who am I?"]


def test_an_unshared_source_leaks_neither_into_the_next_turn_nor_into_what_is_read(service: Service) -> None:
    service.program.run_command("collections", "allow", "town", "carol")
    carol = service.key("--user", "carol")
    service.double.script({"says": "It was 4,000 euros [1]."})
    conversation = begun(service, carol)
    assert "4,000" in ask(service, carol, conversation, FIRST).text

    service.program.run_command("collections", "deny", "town", "carol")
    service.double.script({"says": "I cannot say."})
    ask(service, carol, conversation, "Say that again?")
    ask(service, carol, conversation, "What did you say at first?", retrieval=False)

    assert all("4,000" not in json.dumps(asked["body"]) for asked in service.double.requests)
    whole = get(service, carol, f"/v1/conversations/{conversation}").json()
    assert [message["hidden"] for message in whole["messages"]] == [True, True, False, False, False, False]
    assert "4,000" not in json.dumps(whole)
    assert "4,000" not in get(service, carol, "/v1/conversations/export").text
    assert "4,000" not in service.program.run_command("conversations", "export", "--user", "carol")


def test_nobody_else_finds_it_not_even_a_narrower_key_of_the_same_user(service: Service, alice: str) -> None:
    conversation = begun(service, alice)
    others = [
        service.key("--user", "bob"),
        service.key("--user", "alice", "--collection", "town"),
        service.key("--collection", "town"),
    ]
    for other in others:
        for answer in (
            get(service, other, f"/v1/conversations/{conversation}"),
            delete(service, other, f"/v1/conversations/{conversation}"),
            ask(service, other, conversation, FIRST),
        ):
            assert answer.status_code == 404
            assert answer.json()["error"]["code"] == "conversation_not_found"
        assert get(service, other, "/v1/conversations").json()["data"] == []
        assert get(service, other, "/v1/conversations/export").json()["data"] == []
        assert delete(service, other, "/v1/conversations").json()["deleted"] == 0

    assert get(service, service.key("--user", "alice"), f"/v1/conversations/{conversation}").status_code == 200


def test_they_are_listed_exported_and_deleted(service: Service) -> None:
    dora = service.key("--user", "dora")
    ids = [begun(service, dora) for _ in range(3)]

    page = get(service, dora, "/v1/conversations?limit=2").json()
    rest = get(service, dora, f"/v1/conversations?after={page['data'][-1]['id']}").json()
    assert [one["id"] for one in [*page["data"], *rest["data"]]] == ids[::-1]
    assert (page["has_more"], rest["has_more"]) == (True, False)
    assert len(get(service, dora, "/v1/conversations/export").json()["data"]) == 3
    assert len(json.loads(service.program.run_command("conversations", "export", "-u", "dora"))) == 3

    assert delete(service, dora, f"/v1/conversations/{ids[0]}").json()["deleted"] is True
    assert delete(service, dora, f"/v1/conversations/{ids[0]}").status_code == 404
    assert delete(service, dora, "/v1/conversations").json()["deleted"] == 2
    assert "0 conversations" in service.program.run_command("conversations", "delete", "-u", "dora")


WRONG: dict[str, tuple[dict[str, Any], int, str]] = {
    "no id of ours": ({"conversation": "abc"}, 400, "conversation: expected an id that POST /v1/conversations gave"),
    "nobody's": ({"conversation": f"conv_{'0' * 32}"}, 404, "there is no such conversation of yours"),
    "earlier turns too": (
        {"messages": [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]},
        400,
        "messages: in a conversation the new question is sent alone; what was said before is known",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said(service: Service, alice: str, wrong: str) -> None:
    change, status, said = WRONG[wrong]
    more = dict(change)
    answer = ask(service, alice, more.pop("conversation", None) or begun(service, alice), FIRST, **more)

    assert (answer.status_code, answer.json()["error"]["message"]) == (status, said)


def test_where_they_are_switched_off_none_is_begun(storage: Path, database_url: str) -> None:
    port = free_port()
    (storage / "config.yaml").write_text(
        "embedding:\n  hashing:\nllm:\n  extractive:\nconversation_days: 0\n"
        f"listeners:\n  - port: {port}\n    surfaces: [openai]\n",
        encoding="utf-8",
    )
    with running_double() as double, Program(storage, {"CCB_DB_URL": database_url}, forked=True) as program:
        service = Service(program, port, double)
        alice = service.key("--user", "alice")

        for answer in (
            service.post(alice, {}, "/v1/conversations"),
            ask(service, alice, f"conv_{'0' * 32}", FIRST),
        ):
            assert answer.status_code == 400
            assert answer.json()["error"]["code"] == "conversations_off"
        assert get(service, alice, "/v1/conversations").json()["data"] == []
