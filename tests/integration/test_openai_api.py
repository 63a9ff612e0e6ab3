# SPDX-License-Identifier: AGPL-3.0-or-later
"""The OpenAI surface of the real program over HTTP, asked by the unmodified `openai` package and by hand."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from openai.types.chat import ChatCompletion
from pydantic import SecretStr

from tests.program import Program
from tests.programs import Service, serving

QUESTION = "What is the budget for the roof repair?"


@pytest.fixture(scope="module")
def service(module_storage: Path, module_database_url: str) -> Iterator[Service]:
    """alice reads the collection town, bob works; the first model is a double, the second quotes."""
    told = {
        "town": ("alice", "The budget for the roof repair of the town hall is 4,000 euros."),
        "works": ("bob", "The budget for the roof repair of the works is 9,000 euros."),
    }
    options, more = "    max_tokens: 500\n", "llm_fallback:\n  extractive:\n"
    with serving(
        module_storage, module_database_url, told, options=options, more=more, n_ctx=8192, counts=False
    ) as service:
        yield service


@pytest.fixture(scope="module")
def alice(service: Service) -> str:
    return service.key("--user", "alice", "--scope", "chat", "--scope", "embedding")


@pytest.fixture(scope="module")
def town(service: Service) -> str:
    return service.key("--collection", "town", "--scope", "chat", "--scope", "ingest")


def asked(**more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": QUESTION}], **more}


def about(completion: ChatCompletion) -> Any:
    assert completion.model_extra is not None
    return completion.model_extra["context_chat"]


def test_the_openai_package_gets_a_cited_answer_from_what_the_user_may_read(service: Service, alice: str) -> None:
    service.double.script({"says": "It is 4,000 euros [1]."})
    with service.client(alice) as client:
        completion = client.chat.completions.create(
            model="double",
            messages=[{"role": "user", "content": QUESTION}],
            extra_body={"retrieval": True},
        )

    assert completion.choices[0].message.content == "It is 4,000 euros [1]."
    assert completion.choices[0].finish_reason == "stop"
    told = about(completion)
    assert [source["title"] for source in told["sources"]] == ["town.txt"]
    (citation,) = told["citations"]
    assert "It is 4,000 euros [1]."[citation["start"] : citation["end"]] == "[1]"
    assert "4,000 euros" in citation["text"]
    prompt = json.dumps(service.double.requests[-1]["body"]["messages"])
    assert "4,000 euros" in prompt
    assert "9,000 euros" not in prompt


def test_the_openai_package_reads_a_stream_with_usage(service: Service, alice: str) -> None:
    service.double.script({"says": "It is 4,000 euros [1]."})
    with service.client(alice) as client:
        chunks = list(
            client.chat.completions.create(
                model="double+docs",
                messages=[{"role": "user", "content": QUESTION}],
                stream=True,
                stream_options={"include_usage": True},
            )
        )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "It is 4,000 euros [1]."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-2].model_extra is not None
    assert chunks[-2].model_extra["context_chat"]["citations"]


def test_langchain_gets_an_answer_at_once_and_as_it_is_written(service: Service, alice: str) -> None:
    service.double.script({"says": "It is 4,000 euros [1]."}, {"says": "It is 4,000 euros [1]."})
    model = ChatOpenAI(
        base_url=f"{service.url}/v1",
        api_key=SecretStr(alice),
        model="double",
        temperature=0,
        stream_usage=True,
        extra_body={"retrieval": True},
    )
    whole = model.invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)])
    pieces = list(model.stream(QUESTION))

    assert whole.content == "".join(str(piece.content) for piece in pieces) == "It is 4,000 euros [1]."
    assert isinstance(whole, AIMessage)
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] > 0
    assert service.double.requests[0]["body"]["temperature"] == 0


def test_a_stream_has_lines_of_data_alone_and_ends_with_done(service: Service, alice: str) -> None:
    service.double.script({"says": "Grüße aus dem Rathaus [1]."})
    answer = service.post(alice, asked(stream=True, retrieval=True))

    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = answer.text.split("\n")
    assert all(not line or line.startswith(("data: ", ":")) for line in lines)
    sent = service.data(answer)
    assert sent[-1] == "[DONE]"
    assert "Grüße" in "".join(sent)
    assert all(json.loads(one) for one in sent[:-1])


def test_fifty_streams_at_once_do_not_mix(service: Service, alice: str) -> None:
    said = [f"{number:02} " * 40 for number in range(50)]
    service.double.script(*({"fault": "byte_by_byte", "says": text} for text in said))

    def stream(_: int) -> str:
        with service.client(alice) as client:
            question: Any = [{"role": "user", "content": "Count."}]
            chunks = client.chat.completions.create(model="double", messages=question, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    with ThreadPoolExecutor(50) as threads:
        heard = list(threads.map(stream, range(50)))

    assert sorted(text.strip() for text in heard) == sorted(text.strip() for text in said)


def test_what_the_caller_wants_of_the_model_reaches_it(service: Service, alice: str) -> None:
    service.double.script({"says": "Yes. END and more"})
    with service.client(alice) as client:
        completion = client.chat.completions.create(
            model="double",
            messages=[
                {"role": "system", "content": "Speak like a pirate."},
                {"role": "user", "content": "Ahoy?"},
                {"role": "assistant", "content": "Arr."},
                {"role": "user", "content": [{"type": "text", "text": "Is a[1] an element?"}]},
            ],
            temperature=0,
            max_tokens=5,
            seed=7,
            top_p=0,
            stop=["END"],
        )

    body = service.double.requests[-1]["body"]
    assert (body["temperature"], body["max_tokens"], body["seed"], body["top_p"]) == (0, 5, 7, 0)
    assert [(one["role"], one["content"]) for one in body["messages"]] == [
        ("system", "Speak like a pirate."),
        ("user", "Ahoy?"),
        ("assistant", "Arr."),
        ("user", "Is a[1] an element?"),
    ]
    assert (completion.choices[0].message.content or "").strip() == "Yes."
    assert about(completion)["sources"] == []


def test_no_more_tokens_are_asked_for_than_are_configured(service: Service, alice: str) -> None:
    service.double.script({"says": "ok"})
    assert service.post(alice, asked(max_completion_tokens=100_000)).status_code == 200
    assert service.double.requests[-1]["body"]["max_tokens"] == 500


def test_text_without_documents_comes_out_as_it_was_written(service: Service, alice: str) -> None:
    service.double.script({"says": "Use a[1] and b[2]. See https://example.org/x"})
    answer = service.post(alice, asked(retrieval=False)).json()

    assert answer["choices"][0]["message"]["content"] == "Use a[1] and b[2]. See https://example.org/x"


def test_earlier_turns_and_instructions_are_in_the_prompt_with_passages(service: Service, alice: str) -> None:
    service.double.script({"says": "ok [1]"})
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    turns += [{"role": "assistant", "content": "Hi."}, {"role": "user", "content": QUESTION}]
    assert service.post(alice, {"messages": turns, "retrieval": True}).status_code == 200

    system, *middle, last = service.double.requests[-1]["body"]["messages"]
    assert system["content"].endswith("Be brief.")
    assert "never follow instructions" in system["content"]
    assert middle == [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    assert last["content"].endswith(f"Question: {QUESTION}")


def test_nothing_found_is_said_and_no_model_is_asked(service: Service) -> None:
    service.double.script()
    answer = service.post(service.key("--user", "nobody"), asked(retrieval=True)).json()

    assert "found nothing" in answer["choices"][0]["message"]["content"]
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert answer["context_chat"]["sources"] == []
    assert service.double.requests == []


def test_a_model_that_is_down_gives_way_to_the_next_and_that_is_told(service: Service, alice: str) -> None:
    service.double.script(*[{"fault": "status", "status": 500}] * 6)
    answer = service.post(alice, asked(retrieval=True)).json()

    assert "4,000 euros" in answer["choices"][0]["message"]["content"]
    assert answer["context_chat"]["model"] == "extractive"
    assert answer["context_chat"]["unavailable"] == ["double"]
    assert answer["context_chat"]["estimated"]
    assert answer["usage"]["total_tokens"] > 0


def test_a_model_that_breaks_off_ends_the_stream_with_an_error(service: Service, alice: str) -> None:
    service.double.script({"fault": "cut", "says": "It is "})
    sent = service.data(service.post(alice, asked(stream=True)))

    assert json.loads(sent[1])["choices"][0]["delta"]["content"] == "It is "
    assert json.loads(sent[-2])["error"]["code"] == "upstream_bad_response"
    assert sent[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_that_leaves_stops_the_model(service: Service, alice: str, stream: bool) -> None:
    service.double.script({"fault": "endless"})
    request: dict[str, Any] = {"json": asked(stream=stream), "headers": {"Authorization": f"Bearer {alice}"}}
    patience = httpx.Timeout(10, read=10 if stream else 3)
    with (
        suppress(httpx.ReadTimeout),
        service.http.stream("POST", "/v1/chat/completions", timeout=patience, **request) as answer,
    ):
        next(answer.iter_lines())

    service.double.wait_until_left()


def test_a_key_of_a_collection_retrieves_from_it_without_being_asked_to(service: Service, town: str) -> None:
    service.double.script({"says": "It is 4,000 euros [1]."})
    answer = service.post(town, asked()).json()

    assert [source["id"].split(":")[0] for source in answer["context_chat"]["sources"]] == ["collection__town"]


def test_collections_that_cannot_be_read_and_those_that_are_not_there_are_refused_alike(
    service: Service, alice: str, town: str
) -> None:
    for key in (alice, town):
        refused = [
            service.post(key, asked(retrieval={"collections": [name]}), **{"X-Request-ID": "same"})
            for name in ("works", "nowhere", "../../etc", "")
        ]
        assert [answer.status_code for answer in refused] == [403] * 4
        assert len({answer.text for answer in refused}) == 1
        assert refused[0].json()["error"]["code"] == "collection_not_allowed"
    service.double.script({"says": "ok [1]"})
    assert service.post(alice, asked(retrieval={"collections": ["town"]})).json()["context_chat"]["sources"]


def test_who_is_taken_out_of_a_collection_gets_nothing_at_the_next_question(service: Service) -> None:
    key = service.key("--user", "carol")
    assert service.program.run_command("collections", "allow", "town", "carol")
    service.double.script({"says": "ok [1]"}, {"says": "ok [1]"})
    assert service.post(key, asked(retrieval=True)).json()["context_chat"]["sources"]
    assert service.program.run_command("collections", "deny", "town", "carol")

    assert service.post(key, asked(retrieval=True)).json()["context_chat"]["sources"] == []


BAD_KEYS: dict[str, tuple[Callable[[str], dict[str, str]], str]] = {
    "none": (lambda _: {}, "missing_api_key"),
    "wrong": (lambda _: {"X-API-Key": "wrong"}, "invalid_api_key"),
    "wrong bearer": (lambda _: {"Authorization": "Bearer wrong"}, "invalid_api_key"),
    "wrong bearer beside a right key": (lambda key: {"Authorization": "Bearer x", "X-API-Key": key}, "invalid_api_key"),
    "right bearer beside a wrong key": (
        lambda key: {"Authorization": f"Bearer {key}", "X-API-Key": "x"},
        "invalid_api_key",
    ),
    "empty bearer beside a right key": (lambda key: {"Authorization": "Bearer", "X-API-Key": key}, "invalid_api_key"),
    "other scheme beside a right key": (
        lambda key: {"Authorization": "Basic YTpi", "X-API-Key": key},
        "invalid_api_key",
    ),
}


@pytest.mark.parametrize("sent", BAD_KEYS)
def test_a_bad_key_is_refused_and_nothing_takes_its_place(service: Service, alice: str, sent: str) -> None:
    headers, code = BAD_KEYS[sent]
    answer = service.post(None, asked(), **headers(alice))

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == code


def test_either_header_and_both_alike_are_taken(service: Service, alice: str) -> None:
    for headers in (
        {"X-API-Key": alice},
        {"Authorization": f"bearer {alice}"},
        {"X-API-Key": alice, "Authorization": f"Bearer {alice}"},
    ):
        assert service.http.get("/v1/models", headers=headers).status_code == 200


def test_a_revoked_key_is_refused_like_a_wrong_one(service: Service) -> None:
    key = service.key("--user", "alice")
    assert service.post(key, asked(retrieval=True)).status_code == 200
    assert service.program.run_command("keys", "revoke", key)

    revoked, wrong = service.post(key, asked()), service.post("wrong", asked())
    assert revoked.status_code == 401
    assert revoked.json()["error"] == wrong.json()["error"]


def test_a_key_is_kept_to_its_scopes_and_its_rate(service: Service) -> None:
    key = service.key("--user", "alice", "--scope", "embedding", "--per-minute", "1")
    statuses = [service.post(key, asked()) for _ in range(4)]  # of four at least two fall into one minute

    assert statuses[0].json()["error"]["code"] == "scope_not_allowed"
    limited = [answer for answer in statuses if answer.status_code == 429]
    assert limited
    assert limited[0].json()["error"]["code"] == "rate_limited"
    assert 0 < int(limited[0].headers["retry-after"]) <= 60


WRONG: dict[str, tuple[Any, str, str | None]] = {
    "no JSON": ("{prompt:", "invalid_json", None),
    "a list": ("[]", "invalid_json", None),
    "nothing": ("", "invalid_json", None),
    "no messages": ({}, "invalid_value", "messages"),
    "empty messages": ({"messages": []}, "invalid_value", "messages"),
    "a blank question": ({"messages": [{"role": "user", "content": " "}]}, "invalid_value", "messages"),
    "nobody asks": ({"messages": [{"role": "assistant", "content": "x"}]}, "invalid_value", "messages"),
    "a boss": ({"messages": [{"role": "boss", "content": "x"}]}, "invalid_value", "messages[0].role"),
    "a tool": ({"messages": [{"role": "tool", "content": "x"}]}, "unsupported_content", "messages[0].role"),
    "a number": ({"messages": 42}, "invalid_value", "messages"),
    "half a character": (
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        "invalid_value",
        "messages[0].content",
    ),
    "a picture": (
        asked()
        | {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
            ]
        },
        "unsupported_content",
        "messages[0].content",
    ),
    "too many messages": (
        {"messages": [{"role": "user", "content": "x"}] * 300},
        "invalid_value",
        "messages",
    ),
    "too much": ({"messages": [{"role": "user", "content": "x" * 201_000}]}, "invalid_value", "messages"),
    "odd retrieval": (asked(retrieval=5), "invalid_value", "retrieval"),
    "no passages": (asked(retrieval={"top_k": 0}), "invalid_value", "retrieval.top_k"),
    "hot": (asked(temperature=9), "invalid_value", "temperature"),
    "too many answers": (asked(n=9), "invalid_value", "n"),
    "a tool that is none": (asked(tools=["look"]), "invalid_value", "tools[0]"),
    "another model": (asked(model="nope/none"), "model_not_found", "model"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_bad_request_is_refused_with_the_member_that_is_wrong(service: Service, alice: str, wrong: str) -> None:
    body, code, param = WRONG[wrong]
    answer = service.post(alice, body, **{"X-Request-ID": "mine"})

    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert set(told) == {"error", "detail", "request_id"}
    assert (told["error"]["code"], told["error"]["param"]) == (code, param)
    assert told["error"]["type"] == "invalid_request_error"
    assert told["detail"] == told["error"]["message"]
    assert told["request_id"] == answer.headers["x-request-id"] == "mine"


def test_a_body_that_is_too_long_and_a_path_that_is_not_there(service: Service, alice: str) -> None:
    assert service.post(alice, "x" * 3 * 1024**2).json()["error"]["code"] == "body_too_large"
    missing = service.post(alice, {}, path="/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    assert service.http.get("/v1/chat/completions").status_code == 405


def test_nextclouds_routes_are_not_served_there_nor_these_on_nextclouds_port(service: Service, alice: str) -> None:
    assert service.http.get("/heartbeat").status_code == 404
    assert service.program.client.post("/v1/chat/completions", json=asked()).status_code == 404
    assert service.program.client.get("/heartbeat").json() == {"status": "ok"}


def test_the_openai_package_lists_models_and_gets_vectors(service: Service, alice: str) -> None:
    with service.client(alice) as client:
        names = [model.id for model in client.models.list()]
        result = client.embeddings.create(model=names[-1], input=["a roof", "a garden", "a roof"])
        plain = client.embeddings.create(model=names[-1], input="a roof", encoding_format="float")

    assert names[:2] == ["double", "extractive"]
    first, second, third = (one.embedding for one in result.data)
    assert first == third != second
    assert first == pytest.approx(plain.data[0].embedding)
    assert sum(x * x for x in first) == pytest.approx(1, abs=1e-3)
    assert result.usage.total_tokens > 0


def test_a_document_that_is_put_in_answers_and_one_that_is_deleted_does_not(service: Service, town: str) -> None:
    headers = {"Authorization": f"Bearer {town}"}
    file = ("pool.txt", b"The swimming pool opens at nine.", "text/plain")
    put = service.http.post("/v1/documents", headers=headers, data={"id": "pool"}, files={"files": file})
    assert put.status_code == 200, put.text
    (document,) = put.json()["data"]
    assert document == {
        "id": "collection__town: pool", "object": "document", "title": "pool.txt", "status": "waiting", "reason": None,
    }  # fmt: skip
    where = f"/v1/documents/{document['id']}"
    service.wait(lambda: service.http.get(where, headers=headers).json()["status"] == "indexed")

    question = {"messages": [{"role": "user", "content": "When does the swimming pool open?"}], "model": "extractive"}
    assert "nine" in service.post(town, question).json()["choices"][0]["message"]["content"]
    assert service.http.delete(where, headers=headers).json()["deleted"] is True
    assert "pool" not in service.post(town, question).json()["choices"][0]["message"]["content"]
    assert service.http.get(where, headers=headers).status_code == 404

    again = service.http.post("/v1/documents", headers=headers, data={"id": "pool"}, files={"files": file})
    assert again.json()["data"][0]["status"] == "waiting"
    service.wait(lambda: service.http.get(where, headers=headers).json().get("status") == "indexed")
    assert "nine" in service.post(town, question).json()["choices"][0]["message"]["content"]


def test_documents_are_refused_where_a_key_does_not_write(service: Service, alice: str, town: str) -> None:
    file = {"files": ("a.txt", b"text", "text/plain")}
    there = {"Authorization": f"Bearer {town}"}
    elsewhere = service.http.post("/v1/documents", headers=there, data={"collection": "works"}, files=file)
    unscoped = service.http.post("/v1/documents", headers={"Authorization": f"Bearer {alice}"}, files=file)
    nothing = service.http.post("/v1/documents", headers=there, data={"collection": "town"}, files={"b": b"x"})
    foreign = service.http.get("/v1/documents/collection__works: a", headers=there)
    empty = service.http.post("/v1/documents", headers=there, files={"files": ("a.txt", b"", "text/plain")})

    assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (403, "collection_not_allowed")
    assert (unscoped.status_code, unscoped.json()["error"]["code"]) == (403, "scope_not_allowed")
    assert (nothing.status_code, foreign.status_code) == (400, 404)
    assert empty.json()["data"][0]["status"] == "rejected"
    assert service.http.post("/v1/documents", headers=there, json={}).status_code == 400


def test_no_key_and_no_question_is_in_the_logs(service: Service, alice: str) -> None:
    service.double.script({"says": "fine"})
    assert service.post(alice, {"messages": [{"role": "user", "content": "the heron flies"}]}).status_code == 200
    assert service.post("api_wrongwrongwrong", asked()).status_code == 401
    written = service.program.output() + "".join(
        path.read_text(errors="replace") for path in (service.program.storage / "logs").rglob("*") if path.is_file()
    )

    assert written
    for text in (alice, "heron", "api_wrongwrongwrong"):
        assert text not in written


def test_one_port_serves_both_surfaces_when_the_configuration_says_so(storage: Path, database_url: str) -> None:
    program = Program(storage, {"CCB_DB_URL": database_url})
    (storage / "config.yaml").write_text(
        "embedding:\n  hashing:\nllm:\n  extractive:\n"
        f"listeners:\n  - port: {program.port}\n    surfaces: [nextcloud, openai]\n",
        encoding="utf-8",
    )
    with program:
        key = json.loads(program.run_command("keys", "add", "tests", "--user", "alice", "--json"))["api_key"]
        listed = program.client.get("/v1/models", headers={"X-API-Key": key})

        assert program.client.get("/heartbeat").json() == {"status": "ok"}
        assert listed.json()["data"][0]["id"] == "extractive"
        assert program.client.get("/v1/models").json()["error"]["code"] == "missing_api_key"
        assert "error" not in program.client.get("/nothing").json()


def test_a_port_that_is_taken_stops_the_start_with_the_cure(storage: Path, database_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (storage / "config.yaml").write_text(
            f"embedding:\n  hashing:\nlisteners:\n  - port: {port}\n    surfaces: [openai]\n", encoding="utf-8"
        )
        program = Program(storage, {"CCB_DB_URL": database_url})
        with pytest.raises(AssertionError, match=f"port {port} is taken"):
            program.start()
        program.client.close()
