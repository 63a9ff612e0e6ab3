# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked where something is missing: one question for each thing, the most important first."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from context_chat_backend.answering.planner.workload import Workload

MOST = 3
_QUESTIONS: Mapping[str, str] = {
    "task_type": "What do you want to do: serve a model (inference), train or fine-tune one, or run something else?",
    "domain": "What kind of model or work is it: a language model, images, speech, embeddings, tables?",
    "gpu_needed": "Do you need a GPU? Answer yes or no, or name the GPU or the memory you have in mind.",
    "model_or_budget": "Which model or size do you have in mind (for example 7B), and what may it cost a month?",
}
_CONTRADICTION = "You asked for a GPU and for none. Which of the two holds?"


def asked_of(workload: Workload, *, contradicts: bool = False) -> list[tuple[str, str]]:
    """What is missing, each with its question; at most MOST."""
    questions = dict(_QUESTIONS)
    if contradicts:
        questions["gpu_needed"] = _CONTRADICTION
    return [(name, questions[name]) for name in questions if name in workload.missing][:MOST]


def as_text(questions: Collection[str]) -> str:
    """The questions as an answer."""
    if len(questions) == 1:
        return f"One question before I can plan:\n\n{next(iter(questions))}"
    listed = "\n".join(f"{number}. {question}" for number, question in enumerate(questions, 1))
    return f"Some questions before I can plan:\n\n{listed}"
