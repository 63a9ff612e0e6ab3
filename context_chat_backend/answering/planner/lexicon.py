# SPDX-License-Identifier: AGPL-3.0-or-later
"""The words by which a request is understood."""

from __future__ import annotations

import re
from collections.abc import Mapping

Pattern = re.Pattern[str]


def _words(**patterns: str) -> dict[str, Pattern]:
    return {name.replace("_", "-"): re.compile(pattern) for name, pattern in patterns.items()}


TASKS: Mapping[str, Pattern] = _words(
    fine_tuning=r"fine[- ]?tun|\b(?:q?lora|sft|dpo|rlhf)\b|instruction[- ]tun|adapt (?:a|the|our) model",
    training=r"\b(?:re|pre)?-?train(?:ing)?\b",
    batch=r"\bbatch(?:es)?\b(?! size)|\bnightly\b|\boffline (?:scoring|inference|predictions)|\bin bulk\b|"
    r"\bovernight\b",
    data_processing=r"\betl\b|data[- ]processing|data pipeline|\bspark\b|\bpreprocess|"
    r"\b(?:process|clean|transform|aggregate|crunch)\w* (?:[\w,.]+ ){0,5}(?:data|logs|records|events|files)\b",
    web_service=r"\bweb ?(?:site|shop|app|application|service|server|portal)|\brest api|\bbackend api|\bwordpress\b|"
    r"\bmicro-?services?\b|\bdjango\b|\bonline shop\b",
    inference=r"\binferen[cz]|\bserv(?:e|es|ing)\b|\bhost(?:ing)?\b|\bself-host|\bdeploy|\brun(?:ning|s)?\b|"
    r"\bchat ?bot|"
    r"\bassistant\b|\bgenerat(?:e|ing|ion|or)\b|\btranscri|\bendpoint|\bpredict|\bset ?(?:ting )?up\b|\banswers? |"
    r"\bdetect(?:s|ing)? |\bsummari[sz]e|\btranslat(?:e|ing)\b|\bclassify\b|\brecommend(?:er|ation)|"
    r"\bscoring\b|\bservice\b",
)
"""In their order: what is more particular comes first."""
INFERENCE = re.compile(r"\binferen[cz]|\bserv(?:e|es|ing)\b")
"""By which inference is meant, whatever was said before."""

LEADING_DOMAINS = ("image-generation", "multimodal")
"""Those that are meant whatever else is named."""
DOMAINS: Mapping[str, Pattern] = _words(
    image_generation=r"stable[- ]diffusion|\bsdxl\b|\bflux\b|image[- ]generat|generat\w* (?:\w+ ){0,3}"
    r"(?:images|pictures|posters|art|illustrations)|text[- ]to[- ]image|\bdiffusion model|\bcomfyui\b",
    multimodal=r"multi-?modal|vision[- ]language|\bvlms?\b|\bllava\b|\bqwen2?(?:\.5)?-?vl\b|\bidefics|"
    r"images? and text|questions about (?:images|pictures|photos)",
    speech=r"\bwhisper|\bspeech|transcri|\btts\b|\basr\b|\bvoices?\b|\baudio\b|\bpodcasts?\b",
    embedding=r"\bembedd|sentence[- ]transformer|\bbge\b|\bbge-|\bvector search|semantic search",
    recommender=r"\brecommender|\brecommendation (?:system|engine|model|service)|product recommendations|"
    r"collaborative filtering",
    computer_vision=r"\bvision\b|image classif|\bresnet|\byolo|object detection|segmentation|\bvit\b|\befficientnet|"
    r"\bocr\b|\bdefects?\b|\bcameras?\b|\bvideo|\bconvnext|\bx-?rays?\b|\bimages\b|\bphotos\b|\bpictures\b",
    tabular=r"\bxgboost|\blightgbm|\bcatboost|\btabular|random forest|\bchurn\b|\bfraud\b|\bscikit|\bsklearn|"
    r"gradient boost|\bspreadsheets?\b|\bcredit scor",
    llm=r"\bllms?\b|language model|\bllama|\bmistral|\bmixtral|\bgpt\b|\bgpt-|chat ?bot|\bqwen|\bfalcon\b|\bgemma|"
    r"\bphi-|\bdeepseek|text generation|\bsummari[sz]|\btranslat|\bcode (?:assistant|completion)|\bstarcoder|\brag\b",
)

FAMILIES: tuple[tuple[Pattern, str, str], ...] = tuple(
    (re.compile(pattern), name, tag)
    for pattern, name, tag in (
        (r"\bsdxl\b|stable[- ]diffusion[- ]xl", "Stable Diffusion XL", "text-to-image"),
        (r"stable[- ]diffusion", "Stable Diffusion", "text-to-image"),
        (r"\bflux\b", "FLUX", "text-to-image"),
        (r"\bllava\b", "LLaVA", "image-text-to-text"),
        (r"\bqwen2?(?:\.5)?-?vl\b", "Qwen-VL", "image-text-to-text"),
        (r"\bllama", "Llama", "text-generation"),
        (r"\bmixtral", "Mixtral", "text-generation"),
        (r"\bmistral", "Mistral", "text-generation"),
        (r"\bqwen", "Qwen", "text-generation"),
        (r"\bfalcon\b", "Falcon", "text-generation"),
        (r"\bgemma", "Gemma", "text-generation"),
        (r"\bphi-", "Phi", "text-generation"),
        (r"\bdeepseek", "DeepSeek", "text-generation"),
        (r"\bstarcoder", "StarCoder", "text-generation"),
        (r"\bresnet", "ResNet", "image-classification"),
        (r"\befficientnet", "EfficientNet", "image-classification"),
        (r"\bconvnext", "ConvNeXt", "image-classification"),
        (r"\byolo", "YOLO", "object-detection"),
        (r"\bsegformer", "SegFormer", "image-segmentation"),
        (r"\bwhisper", "Whisper", "automatic-speech-recognition"),
        (r"\bbge\b|\bbge-", "BGE", "sentence-similarity"),
        (r"\bxgboost|\blightgbm|\bcatboost", "gradient boosting", "tabular-classification"),
    )
)
"""Families of models: pattern, name, and what they are for; a longer name stands before those it holds."""
TAGS: tuple[tuple[Pattern, str], ...] = (
    (re.compile(r"object detection|\bdetect(?:s|ing|ion)?\b"), "object-detection"),
    (re.compile(r"segmentation|\bmasks?\b"), "image-segmentation"),
    (re.compile(r"text[- ]to[- ]speech|\btts\b|read(?:s|ing)? (?:\w+ )?aloud"), "text-to-speech"),
    (re.compile(r"\bsummari[sz]"), "summarization"),
    (re.compile(r"\btranslat"), "translation"),
)
"""What a model is for where its domain does not say it; taken where it fits the domain."""
TAGS_OF: Mapping[str, frozenset[str]] = {
    "computer-vision": frozenset({"object-detection", "image-segmentation"}),
    "speech": frozenset({"text-to-speech"}),
    "llm": frozenset({"summarization", "translation"}),
}

PRECISIONS: Mapping[str, Pattern] = _words(
    int4=r"\b(?:int4|4[- ]?bits?|q4\w*|gptq|awq|nf4|gguf)\b",
    int8=r"\b(?:int8|8[- ]?bits?|q8\w*|fp8)\b",
    bf16=r"\b(?:bf16|bfloat16)\b",
    fp16=r"\b(?:fp16|float16|half[- ]precision|16[- ]?bits?)\b",
    fp32=r"\b(?:fp32|float32|full[- ]precision|32[- ]?bits?)\b",
)
METHODS: Mapping[str, Pattern] = _words(
    qlora=r"\bqlora\b", lora=r"\blora\b|\badapters?\b|\bpeft\b", full=r"\bfull (?:fine[- ]?tun|parameter)"
)
GPUS: Mapping[str, float] = {
    "H200": 141, "H100": 80, "A100": 40, "L40S": 48, "A10G": 24, "A10": 24, "L4": 24, "T4": 16, "V100": 16,
    "4090": 24, "A6000": 48, "MI300X": 192,
}  # fmt: skip
"""GB of the smallest GPU of each name."""

LICENCES: tuple[tuple[Pattern, tuple[str, ...]], ...] = (
    (re.compile(r"\bapache\b"), ("apache-2.0",)),
    (re.compile(r"\bmit(?:[- ]licen[cs]e|\b(?= or| licen| and))"), ("mit",)),
    (re.compile(r"\bbsd\b"), ("bsd-3-clause",)),
    (
        re.compile(r"permissive(?:ly)?|commercial(?:ly)? (?:use|usable|licen)|open[- ]source licen"),
        ("apache-2.0", "mit", "bsd-3-clause"),
    ),
)

PROVIDERS: Mapping[str, Pattern] = _words(
    aws=r"\baws\b|\bamazon\b", gcp=r"\bgcp\b|\bgoogle cloud\b", azure=r"\bazure\b|\bmicrosoft cloud\b"
)
"""Other names of providers; those of the catalogue are known beside them."""
AREAS: Mapping[str, tuple[Pattern, Pattern]] = {
    name: (re.compile(said), re.compile(regions))
    for name, said, regions in (
        (
            "germany",
            r"\bgermany\b|\bgerman data|\bfrankfurt\b|\bberlin\b|in german regions",
            r"^de-|eu-central-1|germany",
        ),
        (
            "europe",
            r"\beurope(?:an)?\b|\be\.?u\.?\b|\bgdpr\b|\bdsgvo\b",
            r"^eu-|^europe|europe$|^de-|^uk|^france|^sweden",
        ),
        ("united states", r"\bu\.?s\.?a?\b(?= |$|[,.;])|\bunited states\b|\bamerica\b|\bus regions?\b", r"^us|us\d?$"),
        ("asia", r"\basia\b|\bsingapore\b|\bjapan\b|\btokyo\b", r"^ap-|^asia|asia$|^japan"),
    )
}
"""Parts of the world: how people name them, and the names of regions there."""

KUBERNETES: Mapping[str, Pattern] = _words(
    mlflow=r"\bml ?flow\b", kubeflow_trainer=r"\bkubeflow\b", airflow=r"\bairflow\b",
    argo_workflows=r"\bargo workflows?\b", argo_cd=r"\bargo ?-?cd\b",
    kuberay_operator=r"\b(?:kube)?ray\b(?! ?tracing)", jupyterhub=r"\bjupyter(?:hub)?\b|\bnotebooks\b",
    minio=r"\bminio\b", qdrant=r"\bqdrant\b", milvus=r"\bmilvus\b", weaviate=r"\bweaviate\b", redis=r"\bredis\b",
    postgresql=r"\bpostgres(?:ql)?\b", kafka=r"\bkafka\b", spark_operator=r"\bspark\b", grafana=r"\bgrafana\b",
    prometheus=r"\bprometheus\b", keycloak=r"\bkeycloak\b", vllm=r"\bvllm\b", kserve=r"\bkserve\b",
    triton_inference_server=r"\btriton\b", volcano=r"\bvolcano\b", kueue=r"\bkueue\b", keda=r"\bkeda\b|\bautoscal",
    label_studio=r"\blabel[- ]studio\b", clearml=r"\bclearml\b", comfyui=r"\bcomfyui\b",
    open_webui=r"\bopen[- ]webui\b", dagster=r"\bdagster\b", velero=r"\bvelero\b",
    elasticsearch=r"\belastic ?search\b", opensearch=r"\bopensearch\b", trino=r"\btrino\b", feast=r"\bfeast\b",
    rabbitmq=r"\brabbit ?mq\b", vault=r"\bvault\b", ollama=r"\bollama\b",
)  # fmt: skip

CHEAPER = re.compile(r"\bcheap(?:er|est)?\b|less expensive|lower (?:the )?(?:cost|price)|save money|too expensive")
NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10, "sixteen": 16,
}  # fmt: skip
