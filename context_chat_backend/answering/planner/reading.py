# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules read what a message states. No language model is needed, and nothing in a message changes a rule."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from context_chat_backend.answering.planner import amounts, lexicon
from context_chat_backend.answering.planner.lexicon import Pattern
from context_chat_backend.store.catalogues import Called

_NEGATED = re.compile(
    r"\b(?:no|not|without|never|don'?t|do not|doesn'?t|instead of|rather than|except|avoid|anything but|other than)\s+"
    r"(?:(?:want|need|use|using|to|any|a|an|the|on|in|for|from|do|be|run|with)\s+)*([\w-]+(?: (?:cloud|gpus?))?)"
)
_NO_GPU = re.compile(
    r"\b(?:no|without|not (?:need|use|want)(?:ing)?|(?:don'?t|do not|doesn'?t|does not) (?:need|use|want|have))"
    r"\s+(?:a |any |the )?gpus?\b|\bcpus?[- ]only|\bonly (?:on )?cpus?\b|\bon cpus?\b|"
    r"\bcpu (?:instances?|machines?|nodes?)\b|"
    r"\bgpu[- ]?(?:less|free)\b"
)
_ASKS_FOR_GPU = re.compile(r"(?:need|require|necessary|have)\w* (?:a |any )?gpus?[^.!]*\?")
_YES = re.compile(r"^\W*(?:yes|yep|yeah|sure|please do|of course|certainly|ja|oui|si)\b")
_NO = re.compile(r"^\W*(?:no|nope|nein|non)\b")
_PLACED = (
    r"(?:\b(?:on|in|at|with|using|via|from|through|prefer(?:red|ably)?|provider(?: is|:)|only|stay with|use)\s+"
    r"(?:the\s+)?)"
)
_NO_LIMIT = re.compile(r"(?:no|without(?: a)?) budget(?: limit)?\b|budget (?:does not|doesn'?t) matter|money is no")
_ANY_PROVIDER = re.compile(
    r"\bany (?:provider|cloud)|provider (?:does not|doesn'?t) matter|whichever (?:provider|cloud)"
)
_ANY_REGION = re.compile(r"\bany (?:region|where)|\banywhere\b|region (?:does not|doesn'?t) matter")
_REGION = re.compile(r"\b(?:[a-z]{2}-[a-z]+(?:-\d)?|[a-z]+-[a-z]+\d|[a-z]+(?:us|europe|asia)\d?)\b")
_STAY = re.compile(
    r"(?:data|records?|customers?'? data|it|that|which) (?:must|has to|have to|should|may|"
    r"can) (?:not leave|stay|remain|only)"
)
_ON_PREMISES = re.compile(r"\bon[- ]prem(?:ises)?\b|\bown (?:data ?cent|servers|hardware)")
_DOCUMENTS = re.compile(r"\b(?:guidelines?|polic(?:y|ies)|our documents|handbook|according to our|house rules)\b")
_NAME = re.compile(r"[A-Za-z][\w.+-]*(?:/[\w.+-]+)?")
_MOST_NAMES = 200


@dataclass
class Read:
    """What one message states."""

    stated: dict[str, Any] = field(default_factory=dict)
    """Values by the names of workload.Stated."""
    dropped: set[str] = field(default_factory=set)
    """Names of what no longer holds."""
    wants_cheaper: bool = False
    contradicts: bool = False
    """Whether it asks for a GPU and for none."""
    task_is_weak: bool = False
    """Whether a word like 'run' is all that speaks for its task: a follow-up says so of any."""


def names_in(message: str) -> list[str]:
    """Words that may be names of models of the catalogue: they hold a digit, a hyphen or a slash."""
    found = [match[0].rstrip(".") for match in _NAME.finditer(message)]
    return list(dict.fromkeys(name for name in found if re.search(r"[\d/-]", name)))[:_MOST_NAMES]


def read(message: str, known: Called, asked: Collection[str] = ()) -> Read:
    """What `message` states; `asked` are the names of what was asked just before."""
    text = amounts.without_endless_numbers(" ".join(message.replace("\u2019", "'").lower().split()))
    found = Read()
    _read_gpu(text, found, asked)
    rest = _NO_GPU.sub(" ", text)
    negated = {match[1] for match in _NEGATED.finditer(rest)}
    said = _NEGATED.sub(" ", rest)
    _read_work(said, found)
    _read_model(said, known, found)
    _read_budget(said, text, found)
    _read_sizes(amounts.without_money(said), found)
    _read_places(said, negated, known, found, asked)
    _read_rest(said, found)
    found.wants_cheaper = lexicon.CHEAPER.search(text) is not None
    return found


def _read_gpu(text: str, found: Read, asked: Collection[str]) -> None:
    denied = _NO_GPU.search(text) is not None
    rest = _ASKS_FOR_GPU.sub(" ", _NO_GPU.sub(" ", text))
    wanted = re.search(r"\bgpus?\b|\bcuda\b|\bv-?ram\b", rest) is not None or amounts.gpus_in(rest)[0] is not None
    if denied and wanted:
        found.contradicts = True
        found.dropped.add("gpu_needed")
    elif denied or wanted:
        found.stated["gpu_needed"] = wanted
    elif "gpu_needed" in asked and (yes := _YES.search(text) is not None) != (_NO.search(text) is not None):
        found.stated["gpu_needed"] = yes


def _read_work(text: str, found: Read) -> None:
    domains = {name: match.start() for name, pattern in lexicon.DOMAINS.items() if (match := pattern.search(text))}
    domain = next((name for name in lexicon.LEADING_DOMAINS if name in domains), None)
    if domain is None and domains:
        domain = min(domains, key=lambda name: domains[name])
    if domain is not None:
        found.stated["domain"] = domain
    for task, pattern in lexicon.TASKS.items():
        if pattern.search(text) and not (task in ("web-service", "data-processing") and domain is not None):
            found.stated["task_type"] = task
            found.task_is_weak = task == "inference" and lexicon.INFERENCE.search(text) is None
            break
    method = _first(lexicon.METHODS, text)
    if method is not None:
        found.stated |= {"method": method, "task_type": "fine-tuning"}
    precision = _first(lexicon.PRECISIONS, text)
    if precision is not None:
        found.stated["precision"] = precision


def _read_model(text: str, known: Called, found: Read) -> None:
    stated = found.stated
    parameters = amounts.parameters_in(amounts.without_money(text))
    family = next(((name, tag) for pattern, name, tag in lexicon.FAMILIES if pattern.search(text)), None)
    if family is not None:
        stated |= {"model_name": family[0], "pipeline_tag": family[1]}
        stated.setdefault("domain", _domain_of(family[1]))
    if known.models:
        model = max(known.models, key=lambda one: (len(one.short_name), one.model_id))
        stated |= {"model_id": model.model_id, "model_name": model.short_name, "pipeline_tag": model.pipeline_tag}
        if (domain := _domain_of(model.pipeline_tag)) is not None:
            stated["domain"] = domain
        if parameters is None and model.parameters_b is not None:
            parameters = float(model.parameters_b)
    elif family is not None:
        found.dropped.add("model_id")
    if parameters is not None:
        stated["parameters_b"] = parameters
    if (context := amounts.context_in(text)) is not None:
        stated["context_length"] = context
    _read_purpose(text, stated)


def _read_purpose(text: str, stated: dict[str, Any]) -> None:
    domain = stated.get("domain")
    if "pipeline_tag" not in stated and domain is not None:
        for pattern, tag in lexicon.TAGS:
            if tag in lexicon.TAGS_OF.get(domain, ()) and pattern.search(text):
                stated["pipeline_tag"] = tag
                break


def _domain_of(tag: str) -> str | None:
    of_tags = {
        "text-generation": "llm", "summarization": "llm", "translation": "llm", "text-to-image": "image-generation",
        "image-classification": "computer-vision", "object-detection": "computer-vision",
        "image-segmentation": "computer-vision", "automatic-speech-recognition": "speech", "text-to-speech": "speech",
        "sentence-similarity": "embedding", "image-text-to-text": "multimodal", "tabular-classification": "tabular",
    }  # fmt: skip
    return of_tags.get(tag)


def _read_budget(said: str, text: str, found: Read) -> None:
    if _NO_LIMIT.search(text):
        found.dropped |= {"budget_monthly", "budget_hourly"}
        return
    budget = amounts.budget_in(said) or amounts.budget_in(text)
    if budget is None:
        return
    named = {"budget_monthly": budget.monthly, "budget_hourly": budget.hourly}
    found.stated |= {name: value for name, value in named.items() if value is not None}
    found.dropped |= {name for name, value in named.items() if value is None}
    if budget.currency is not None:
        found.stated["currency"] = budget.currency


def _read_sizes(text: str, found: Read) -> None:
    gpu, count, each = amounts.gpus_in(text)
    values = {
        "gpu_model": gpu,
        "min_gpu_count": count,
        "vram_per_gpu_gb": each,
        "min_vram_gb": amounts.vram_in(text),
        "min_ram_gb": amounts.ram_in(text),
        "min_vcpu": amounts.cpus_in(text),
        "replicas": amounts.replicas_in(text),
        "users": amounts.users_in(text),
        "requests_per_second": amounts.rate_in(text),
    }
    found.stated |= {name: value for name, value in values.items() if value is not None}


def _read_places(text: str, negated: set[str], known: Called, found: Read, asked: Collection[str]) -> None:
    patterns = {name.lower(): re.compile(rf"\b{re.escape(name.lower())}\b") for name in known.providers}
    patterns |= dict(lexicon.PROVIDERS)
    refused = {name for name, pattern in patterns.items() if any(pattern.search(word) for word in negated)}
    if refused:
        found.stated["without_provider"] = tuple(sorted(refused))
    named = [
        name
        for name, pattern in patterns.items()
        if name not in refused and (_placed(pattern, text) or "provider" in asked or len(text.split()) <= 2)
        and pattern.search(text)
    ]  # fmt: skip
    if named:
        found.stated["provider"] = tuple(sorted(named))
    elif _ANY_PROVIDER.search(text):
        found.dropped.add("provider")
    regions = {name.lower() for name in known.regions} & set(re.findall(r"[a-z0-9-]+", text))
    areas = [name for name, (pattern, _) in lexicon.AREAS.items() if pattern.search(text)]
    if "germany" in areas and "europe" in areas:
        areas.remove("europe")
    if regions or areas:
        found.stated["region"] = tuple(sorted(regions)) or tuple(areas)
    elif unknown := [one for one in _REGION.findall(text) if re.match(r"(?:us|eu|ap|sa|ca|me|af)-[a-z]+-\d$", one)]:
        found.stated["region"] = tuple(unknown)
    elif _ANY_REGION.search(text):
        found.dropped.add("region")


def _placed(pattern: Pattern, text: str) -> bool:
    """Whether a provider stands where a place does: its name alone, or that it be recommended, is no wish."""
    return re.search(rf"{_PLACED}(?:{pattern.pattern})", text) is not None


def _read_rest(text: str, found: Read) -> None:
    licences = [name for pattern, names in lexicon.LICENCES if pattern.search(text) for name in names]
    if licences:
        found.stated["licenses"] = tuple(dict.fromkeys(licences))
    needs = tuple(name for name, pattern in lexicon.KUBERNETES.items() if pattern.search(text))
    if needs:
        found.stated["kubernetes_needs"] = needs
    constraints = []
    if _STAY.search(text) or re.search(r"\bgdpr\b|\bdsgvo\b|data residency", text):
        constraints.append("data residency")
    if _ON_PREMISES.search(text):
        constraints.append("on-premises")
    if licences:
        constraints.append("licence")
    if constraints:
        found.stated["constraints"] = tuple(constraints)
    if _DOCUMENTS.search(text):
        found.stated["wants_documents"] = True


def _first(patterns: Any, text: str) -> str | None:
    return next((name for name, pattern in patterns.items() if pattern.search(text)), None)
