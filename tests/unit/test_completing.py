# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which model a name means, what it is asked at a cursor, and what of its answer is taken."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from context_chat_backend.completing.code import CodeOrder, shown
from context_chat_backend.completing.editing import Around, at_cursor, ended, fitting, quoted_code, unfenced
from context_chat_backend.completing.models import Role, ServedModel, ServedModels
from context_chat_backend.completing.recent import Recent
from context_chat_backend.completing.templates import aliases, template_of, templates
from context_chat_backend.errors import CursorOutOfRange, ModelNotFound, PromptTooLong
from context_chat_backend.inference.language.extractive import ExtractiveModel
from context_chat_backend.inference.relaying import relay_of
from context_chat_backend.settings.gateway import FAMILIES
from context_chat_backend.web.gateway_wire import MaskedEmails
from tests.language_contract import passage

MODEL = ExtractiveModel()


def served(name: str, context_tokens: int = 4096) -> ServedModel:
    return ServedModel(name, MODEL, relay_of(MODEL), template_of(name), context_tokens, 1024)


def models(*names: str, chat: Sequence[str] = ()) -> ServedModels:
    return ServedModels([served(name) for name in names], {Role.COMPLETION: names, Role.CHAT: chat})


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Refact/1.6B", "refact"),
        ("bigcode/starcoder2-3b", "starcoder"),
        ("stabilityai/stable-code-3b", "starcoder"),
        ("Qwen/Qwen2.5-Coder-1.5B", "qwen2.5-coder"),
        ("qwen2.5-coder:1.5b-base", "qwen2.5-coder"),
        ("Qwen/Qwen2.5-Coder-7B-Instruct", "instruct"),
        ("codellama/CodeLlama-7b-hf", "codellama"),
        ("codellama:7b-instruct", "instruct"),
        ("deepseek-ai/deepseek-coder-1.3b-base", "deepseek-coder"),
        ("llama3.2", "instruct"),
    ],
)
def test_a_family_is_known_by_the_name_of_its_models(name: str, family: str) -> None:
    assert template_of(name).family == family
    assert template_of("anything", family).family == family


def test_the_configuration_names_the_families_of_the_file() -> None:
    assert tuple(templates()) == FAMILIES


def test_each_family_puts_the_parts_in_its_order() -> None:
    assert template_of("", "refact").prompt("A", "B") == "<fim_suffix>B<fim_prefix>A<fim_middle>"
    assert template_of("", "starcoder").prompt("A", "B") == "<fim_prefix>A<fim_suffix>B<fim_middle>"
    assert template_of("", "qwen2.5-coder").prompt("A", "B") == "<|fim_prefix|>A<|fim_suffix|>B<|fim_middle|>"
    assert template_of("", "codellama").prompt("A", "B") == "<PRE>A<SUF>B<MID>"
    assert template_of("", "deepseek-coder").prompt("A", "B") == "<｜fim▁begin｜>A<｜fim▁hole｜>B<｜fim▁end｜>"


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "instruct"])
@settings(max_examples=50)
@given(data=st.data())
def test_no_mark_of_a_model_is_left_in_what_users_write(family: str, data: st.DataObject) -> None:
    template = template_of("", family)
    marks = [template.prefix, template.suffix, template.middle, template.end]
    text = "".join(data.draw(st.lists(st.sampled_from([*marks, *(mark[:3] for mark in marks), "x", "<", ">"]))))
    nested = "".join(f"{mark[:4]}{text}{mark[4:]}" for mark in marks)

    cleaned = template.without_marks(nested)

    assert not any(mark in cleaned for mark in marks)
    assert template.without_marks(cleaned) == cleaned


def test_marks_nested_a_hundred_thousand_deep_are_taken_out_in_one_pass() -> None:
    template = template_of("", "qwen2.5-coder")
    half = "<|fim_pre", "fix|>"

    assert template.without_marks(f"a{half[0] * 100_000}{half[1] * 100_000}b") == "ab"  # a pass for each takes hours


def test_marks_are_looked_for_only_in_what_the_model_is_shown() -> None:
    lines_beyond_the_window = 2_000
    asked = order("far\n" + "<fim_prefix>\n" * lines_beyond_the_window + "x", lines_beyond_the_window + 1, 1)

    shown_before = asked.around(served("Refact/1.6B"), 0).before

    assert shown_before.endswith("\nx")
    assert "far" not in shown_before
    assert "<fim_prefix>" not in shown_before


def test_a_name_means_itself_then_an_alias_then_a_default_then_its_family() -> None:
    known = models("Refact/1.6B", "Qwen/small", chat=("Qwen/small",))

    assert known.named("Qwen/small", Role.COMPLETION).name == "Qwen/small"
    for alias in aliases():
        assert known.named(alias, Role.CHAT).name == "Refact/1.6B"
    for name in ("", "CONTRASTcode"):
        assert known.named(name, Role.COMPLETION).name == "Refact/1.6B"
        assert known.named(name, Role.CHAT).name == "Qwen/small"
    assert known.named("Qwen/large", Role.COMPLETION).name == "Qwen/small"
    for name in ("nope/none", "Refact", "a b", "../../etc", "x" * 201, "é"):
        with pytest.raises(ModelNotFound):
            known.named(name, Role.COMPLETION)
    with pytest.raises(ModelNotFound):
        models().named("", Role.CHAT)


def test_the_version_changes_with_the_list_and_with_nothing_else() -> None:
    assert models("a", "b").version == models("a", "b").version
    assert len({models("a").version, models("a", "b").version, models("b", "a").version}) == 3
    assert 0 <= models("a").version < 2**31


@given(st.text("ab\n😀", max_size=60), st.data())
def test_both_sides_of_a_cursor_are_the_whole_file(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    line = data.draw(st.integers(0, len(lines) - 1))
    character = data.draw(st.integers(0, len(lines[line])))
    around = at_cursor(text, line, character)

    assert around.before + around.after == text
    assert around.before.count("\n") == line


@pytest.mark.parametrize(("line", "character"), [(2, 0), (-1, 0), (0, 3), (0, -1)])
def test_a_cursor_that_is_nowhere_is_refused(line: int, character: int) -> None:
    with pytest.raises(CursorOutOfRange):
        at_cursor("ab\ncd", line, character)


def test_lines_are_taken_in_turn_from_above_and_below() -> None:
    above, below = [f"above {n:04}" for n in range(2000)], [f"below {n:04}" for n in range(2000)]
    shown_of = fitting(Around("\n".join([*above, "x = "]), "\n".join(["1", *below])), 600)

    assert shown_of.before.endswith("above 1999\nx = ")
    assert shown_of.after.startswith("1\nbelow 0000")
    assert abs(shown_of.before.count("\n") - shown_of.after.count("\n")) <= 1
    assert len(shown_of.before) + len(shown_of.after) <= 3 * 600


def test_one_side_takes_what_the_other_does_not_need() -> None:
    shown_of = fitting(Around("\n".join(f"above {n}" for n in range(2000)), ""), 600)

    assert shown_of.before.count("\n") > 90
    assert fitting(Around("a\nb", "c\nd"), 600) == Around("a\nb", "c\nd")
    with pytest.raises(PromptTooLong):
        fitting(Around("a", "b"), 511)


def order(text: str = "def f():\n    \n", line: int = 1, character: int = 4, **changes: object) -> CodeOrder:
    told: dict[str, object] = {"multiline": True, "temperature": 0.2, "answer_tokens": 50}
    return CodeOrder(text, line, character, **(told | changes))  # type: ignore[arg-type]


def test_an_instruct_model_is_asked_in_words_and_its_fence_is_taken_off() -> None:
    model, wanted = served("llama3.2"), order()
    _, asked = wanted.asked(model, wanted.around(model, 0), "")

    assert "def f():\n    <CURSOR>\n" in shown(asked)
    assert wanted.taken(model, "```python\nreturn 1\n```\nThat is it.") == "return 1"
    assert unfenced("return 1") == "return 1"


def test_the_mark_of_the_cursor_stands_once_however_it_is_nested() -> None:
    model, wanted = served("llama3.2"), order(text="a<CUR<CURSOR>SOR><CURSOR>b", line=0, character=1)
    _, asked = wanted.asked(model, wanted.around(model, 0), "# <CURSOR>\n")

    assert asked["messages"][-1]["content"] == "# \na<CURSOR>b"


def test_an_answer_ends_at_the_first_of_its_ends() -> None:
    model = served("Qwen/Qwen2.5-Coder-1.5B")

    assert order().taken(model, "a\r\nb<|file_sep|>c\n\nd") == "a\nb"
    assert order(multiline=False).taken(model, "a\nb") == "a"
    assert ended("abc", []) == "abc"


def test_passages_before_code_are_files_or_comments_and_no_more_than_fit() -> None:
    passages = [passage("one\ntwo", 1, "a.txt"), passage("x" * 3000, 2, "b.txt")]

    assert quoted_code(passages, template_of("qwen2.5-coder"), 200) == "<|file_sep|>a.txt\none\ntwo\n"
    assert quoted_code(passages, template_of("refact"), 200) == "# a.txt\n# one\n# two\n\n"
    assert quoted_code(passages, template_of("refact"), 1) == ""


def test_what_is_remembered_is_young_and_not_too_much() -> None:
    now = [0.0]
    recent: Recent[str] = Recent(2, 10.0, lambda: now[0])
    for key in ("a", "b"):
        recent.put(key, key.upper())
    assert recent.get("a") == "A"
    recent.put("c", "C")

    assert (recent.get("a"), recent.get("b"), recent.get("c")) == ("A", None, "C")
    now[0] = 11.0
    assert recent.get("a") is None


@given(st.lists(st.sampled_from(["a", "ann@example.org", " ", "@", ".", "b.c", "\n"])), st.data())
def test_addresses_are_masked_wherever_a_text_is_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    whole = MaskedEmails()
    expected = whole.add(text) + whole.end()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    masks = MaskedEmails()
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    assert "".join(masks.add(piece) for piece in pieces) + masks.end() == expected
    assert "ann@example.org" not in expected
