# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules read requests: amounts, places, models, and what follow-ups change."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from context_chat_backend import config
from context_chat_backend.answering.planner import amounts
from context_chat_backend.answering.planner.reading import names_in, read
from context_chat_backend.answering.planner.requirements import Known as Conversation
from context_chat_backend.answering.planner.requirements import Required, require
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.settings.planner import PlannerSettings, Sizing, read_planner
from context_chat_backend.store.catalogues import Called

KNOWN = Called(("aws", "gcp", "azure", "northwind"), ("us-east-1", "eu-central-1", "de-frankfurt"))


def talk(*messages: str) -> Required:
    """The step after the last of some messages; each before it is planned as far as it can be."""
    known = Conversation()
    for message in messages:
        required = require(read(message, KNOWN, known.asked), known, Sizing(), most_rounds=2)
        known = replace(required.known, has_plan=required.can_be_planned)
    return required


@pytest.mark.parametrize(
    ("text", "monthly", "hourly", "currency"),
    [
        ("$5k/month", 5000, None, "USD"),
        ("under 3000 eur", 3000, None, "EUR"),
        ("3.000 € im monat", 3000, None, "EUR"),
        ("2 dollars per hour", None, 2, "USD"),
        ("€12,000 a year", 1000, None, "EUR"),
        ("max 2.5k usd monthly", 2500, None, "USD"),
        ("budget of 800 per month", 800, None, None),
        ("the budget was $5000, now it is $3000", 3000, None, "USD"),
        ("set the price to 0", None, None, None),
        ("$0 please", None, None, None),
        ("at least 40 gb", None, None, None),
        ("under 8 gpus", None, None, None),
    ],
)
def test_money_is_read_with_its_period(text: str, monthly: Any, hourly: Any, currency: str | None) -> None:
    budget = amounts.budget_in(text)

    if monthly is None and hourly is None:
        assert budget is None
    else:
        assert budget is not None
        assert (budget.monthly, budget.hourly, budget.currency) == (monthly, hourly, currency)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("llama 70b", {"parameters_b": 70.0}),
        ("a model of 1.5 billion parameters", {"parameters_b": 1.5}),
        ("110 million parameters", {"parameters_b": 0.11}),
        ("mixtral 8x7b", {"parameters_b": 56.0}),
        ("4x a100 80gb", {"gpu_model": "A100", "min_gpu_count": 4, "vram_per_gpu_gb": 80.0}),
        ("two gpus with 48 gb of vram", {"min_gpu_count": 2, "min_vram_gb": 48.0}),
        ("16 vcpu and 64 gb ram", {"min_vcpu": 16, "min_ram_gb": 64.0}),
        ("500 concurrent users, 20 requests per second", {"users": 500, "requests_per_second": 20.0}),
        ("3 replicas with 32k context", {"replicas": 3, "context_length": 32000}),
        ("on aws in us-east-1", {"provider": ("aws",), "region": ("us-east-1",)}),
        ("anything but azure", {"without_provider": ("azure",)}),
        ("in Germany", {"region": ("germany",)}),
        ("on prem, the data must stay in the EU", {"constraints": ("data residency", "on-premises")}),
        ("MIT licence or Apache", {"licenses": ("apache-2.0", "mit")}),
    ],
)
def test_what_is_stated_is_read(text: str, stated: dict[str, Any]) -> None:
    found = read(text, KNOWN).stated

    assert {name: found.get(name) for name in stated} == stated


@pytest.mark.parametrize("text", ["recommend provider azure", "azure is what everybody always recommends to anyone"])
def test_a_name_alone_is_no_wish_for_a_provider(text: str) -> None:
    assert "provider" not in read(text, KNOWN).stated


def test_a_gpu_is_wanted_refused_or_asked_about() -> None:
    assert read("no GPU please", KNOWN).stated["gpu_needed"] is False
    assert read("on a GPU", KNOWN).stated["gpu_needed"] is True
    assert read("yes", KNOWN, ["gpu_needed"]).stated["gpu_needed"] is True
    assert "gpu_needed" not in read("yes", KNOWN, ["domain"]).stated
    assert "gpu_needed" not in read("do I need a GPU?", KNOWN).stated
    assert read("an A100 but no GPU", KNOWN).contradicts


def test_later_statements_replace_earlier_ones() -> None:
    stated = talk("Deploy Llama 70B for inference on aws for $5000 a month", "rather on gcp, $3 per hour").known.stated

    assert stated.provider == ("gcp",)
    assert (stated.budget_monthly, stated.budget_hourly) == (None, 3)
    assert stated.parameters_b == 70


def test_a_follow_up_does_not_turn_training_into_serving() -> None:
    assert talk("Train a ResNet image classifier", "run it in Europe").workload.task_type == "training"


def test_another_model_has_another_size() -> None:
    assert talk("Deploy Llama 70B for inference", "take Mistral instead").known.stated.parameters_b is None


@pytest.mark.parametrize(
    ("messages", "note"),
    [
        (("Deploy Llama 70B for inference", "cheaper"), "lowered to int8"),
        (("Fine-tune Llama 8B", "cheaper"), "LORA"),
        (("Fine-tune Llama 8B with LoRA", "cheaper"), "QLORA"),
        (("Train a vision model on aws", "cheaper"), "all providers"),
        (("Train a vision model in Europe", "cheaper"), "all regions"),
        (("Train a vision model", "cheaper"), "nothing stated can be given up"),
    ],
)
def test_what_is_given_up_for_a_lower_price_is_said(messages: tuple[str, ...], note: str) -> None:
    assert note in talk(*messages).notes[0]


@pytest.mark.parametrize(
    ("message", "vram"),
    [
        ("Llama 70B inference", 168), ("Llama 70B inference int8", 84), ("Llama 70B inference int4", 42),
        ("full fine-tuning of an 8B language model", 141), ("LoRA on a 7B model", 19), ("QLoRA on a 70B model", 56),
        ("Serve SDXL", 16), ("Serve Stable Diffusion", 12), ("Train an image classifier", 24),
        ("Transcribe with Whisper", 10), ("Serve embeddings on a GPU", 4),
    ],
)  # fmt: skip
def test_memory_follows_the_table(message: str, vram: float) -> None:
    assert talk(message).workload.min_vram_gb == vram


def test_the_table_is_configurable() -> None:
    sizing = read_planner({"sizing": {"speech": 11}}, {}).sizing
    required = require(read("Transcribe with Whisper", KNOWN), Conversation(), sizing, most_rounds=2)

    assert required.workload.min_vram_gb == 11


def test_confidence_is_the_servers() -> None:
    assert talk("hello").workload.confidence == "low"
    assert talk("Inference with a language model on a GPU").workload.confidence == "medium"
    assert talk("Inference with a 7B language model").workload.confidence == "high"


def test_no_message_is_too_odd_to_be_read() -> None:
    for text in ("", "\n", "💥" * 3000, "$" * 8000, "1" * 8000, "(" * 4000, "not " * 2000, "8x" * 4000, "in " * 2600):
        read(text, KNOWN)
    assert names_in("Mistral-7B-Instruct-v0.3, or Qwen/Qwen2.5-7B-Instruct.") == [
        "Mistral-7B-Instruct-v0.3",
        "Qwen/Qwen2.5-7B-Instruct",
    ]


def test_settings_come_from_the_file_and_the_environment() -> None:
    read_ = read_planner(
        {"extractor": "rules", "top_k": {"compute": 7}, "hf": {"chunker_version": "a"}},
        {"COMPUTE_TOP_K": "9", "HF_CHUNKER_VERSION": "b"},
    )

    assert (read_.extractor, read_.compute_top_k, read_.chunker_version) == ("rules", 9, "b")
    assert read_planner(None, {}) == PlannerSettings()


@pytest.mark.parametrize(
    ("given", "environment", "said"),
    [
        ([], {}, "planner: expected options"),
        ({"extracter": "rules"}, {}, "did you mean 'extractor'"),
        ({"extractor": "magic"}, {}, "planner.extractor: expected one of auto, rules, model"),
        ({"top_k": {"compute": 0}}, {}, "planner.top_k.compute: expected a whole number from 1 to 100"),
        ({}, {"K8S_TOP_K": "many"}, "K8S_TOP_K: expected a whole number"),
        ({"sizing": {"lora": 0}}, {}, "planner.sizing.lora: expected a number above 0"),
        ({"sizing": []}, {}, "planner.sizing: expected options"),
        ({"hf": {"chunker_version": 7}}, {}, "planner.hf.chunker_version: expected a text"),
        ({"max_clarifications": -1}, {}, "planner.max_clarifications: expected a whole number from 0"),
    ],
)
def test_settings_that_make_no_sense_stop_the_start(given: Any, environment: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_planner(given, environment)
    assert said in str(caught.value)


def test_the_environment_names_a_port_of_the_planner(tmp_path: Path) -> None:
    told = {"APP_PERSISTENT_STORAGE": str(tmp_path), "SUPABASE_JWT_SECRET": "x" * 32, "API_HOST": "127.0.0.1"}
    here = config.load(told | {"API_PORT": "8000"}, cores=2).listeners

    assert (8000, ("planner",), "127.0.0.1") in [(one.port, one.surfaces, one.host) for one in here]
    with pytest.raises(ConfigurationError, match="API_PORT"):
        config.load(told | {"API_PORT": "eight"}, cores=2)
    of_kubernetes = config.load(told | {"API_PORT": "tcp://10.0.0.1:80"}, cores=2).listeners
    assert ("planner",) not in [one.surfaces for one in of_kubernetes]
    (tmp_path / "config.yaml").write_text("listeners:\n  - {port: 8000, surfaces: [openai]}\n", encoding="utf-8")
    stated = config.load(told | {"API_PORT": "8000"}, cores=2).listeners
    assert [one.surfaces for one in stated if one.port == 8000] == [("openai",)]


def test_the_models_of_the_specification_are_configured_by_its_key(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "planner.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```yaml\n(llm:.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "config.yaml").write_text(lines, encoding="utf-8")
    read_ = config.load({"APP_PERSISTENT_STORAGE": str(tmp_path), "OPENAI_API_KEY": "sk-1"}, cores=2)

    assert read_.llm.name == read_.embedding.name == "openai"
    assert read_.llm.options["model"] == "gpt-4o-mini"
    assert read_.embedding.options["model_name"] == "text-embedding-3-small"
    assert read_.llm.options["api_key"] == read_.embedding.options["api_key"] == "sk-1"


def test_in_production_the_surface_needs_to_know_its_users(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("listeners:\n  - {port: 8000, surfaces: [planner]}\n", encoding="utf-8")
    told = {"APP_PERSISTENT_STORAGE": str(tmp_path), "SUPABASE_PROJECT_URL": "https://x.example/"}

    with pytest.raises(ConfigurationError, match="SUPABASE_JWT_SECRET"):
        config.load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=2)
    (issuer,) = config.load(told, cores=2).programs.issuers
    assert (issuer.issuer, issuer.audience) == ("https://x.example/auth/v1", "authenticated")
    assert issuer.jwks_url == "https://x.example/auth/v1/.well-known/jwks.json"
    (issuer,) = config.load(told | {"SUPABASE_JWT_SECRET": "x" * 32}, cores=2).programs.issuers
    assert (issuer.secret, issuer.jwks_url) == ("x" * 32, None)
    with pytest.raises(ConfigurationError, match="at least 32 bytes"):
        config.load(told | {"SUPABASE_JWT_SECRET": "short"}, cores=2)
