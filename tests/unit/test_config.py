# SPDX-License-Identifier: AGPL-3.0-or-later
from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from context_chat_backend import config, settings
from context_chat_backend.config import Config, load
from context_chat_backend.errors import ConfigurationError
from context_chat_backend.inference.catalogue import CATALOGUE
from context_chat_backend.settings import keys, language
from context_chat_backend.settings import models as chosen_models
from context_chat_backend.settings.environment import VARIABLES, environment_without_secrets, read_environment

ROOT = Path(__file__).resolve().parents[2]


def read(storage: Path, text: str = "", **environment: str) -> Config:
    (storage / "config.yaml").write_text(text, encoding="utf-8")
    return load({"APP_PERSISTENT_STORAGE": str(storage), **environment}, cores=4)


def refused(storage: Path, text: str = "", **environment: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read(storage, text, **environment)
    return str(caught.value)


@pytest.mark.usefixtures("_no_library")
@pytest.mark.parametrize(("name", "passed_over"), [("config.cpu.yaml", 0), ("config.gpu.yaml", 1)])
def test_the_shipped_files_name_a_multilingual_model_that_every_installation_has(
    tmp_path: Path, name: str, passed_over: int
) -> None:
    shutil.copy(ROOT / name, tmp_path / "config.yaml")

    loaded = load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=4)

    assert (loaded.embedding.name, loaded.llm.name) == ("onnx", "nc_texttotext")
    assert loaded.embedding.options["model"] in CATALOGUE
    assert len(loaded.warnings) == passed_over
    assert loaded.reranker.name == "none"
    assert loaded.database_url is None


@pytest.mark.usefixtures("_every_library")
def test_with_its_library_the_larger_model_is_chosen_for_a_gpu(tmp_path: Path) -> None:
    shutil.copy(ROOT / "config.gpu.yaml", tmp_path / "config.yaml")

    loaded = load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=4)

    assert loaded.embedding.name == "sentence_transformers"
    assert loaded.embedding.options["model"] in CATALOGUE
    assert loaded.warnings == ()


def test_hardware_decides_counts_unless_they_are_set(tmp_path: Path) -> None:
    assert read(tmp_path).indexing.parser_processes == 2
    assert read(tmp_path, "parser_processes: 7").indexing.parser_processes == 7


@pytest.mark.usefixtures("_no_library")
def test_the_first_supported_model_counts_and_others_of_the_reference_warn(tmp_path: Path) -> None:
    text = "llm:\n  ctransformer:\n  openai:\n    base_url: http://x/v1\n    model: m\n  extractive:\n"
    loaded = read(tmp_path, text)

    assert loaded.llm.name == "openai"
    assert loaded.llm.options == {"base_url": "http://x/v1", "model": "m"}
    assert any("ctransformer" in warning for warning in loaded.warnings)


def test_a_reranker_is_chosen_as_the_other_models_are(tmp_path: Path) -> None:
    text = "reranker:\n  remote:\n    base_url: http://x/v1\n    request_timeout: 3\n  onnx:\n    model: m\n"

    assert read(tmp_path).reranker.name == read(tmp_path, "reranker: none").reranker.name == "none"
    assert read(tmp_path, text).reranker.name == "remote"
    assert read(tmp_path, text).reranker.options == {"base_url": "http://x/v1", "request_timeout": 3}


@pytest.fixture
def _no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen_models, "find_spec", lambda name: None)


@pytest.mark.usefixtures("_no_library")
def test_a_file_with_models_of_the_reference_alone_falls_back_with_a_warning(tmp_path: Path) -> None:
    text = "embedding:\n  protocol: http\n  llama:\n    model_path: x.gguf\nllm:\n  llama:\n    n_ctx: 8192\n"
    loaded = read(tmp_path, text)

    assert (loaded.embedding.name, loaded.llm.name) == ("onnx", "nc_texttotext")
    assert len(loaded.warnings) == 5


@pytest.mark.usefixtures("_no_library")
@pytest.mark.parametrize(
    "text",
    [
        # the shape of 4.x
        "debug: true\nuvicorn_log_level: info\ndisable_aaa: false\nhttpx_verify_ssl: true\nmodel_offload_timeout: 15\n"
        "use_colors: true\nuvicorn_workers: 1\nembedding_chunk_size: 1000\ndoc_parser_worker_limit: 10\n"
        "disable_custom_model_download: false\nmodel_download_uri: https://x\n"
        "vectordb:\n  pgvector:\n  chroma:\n    is_persistent: true\n  weaviate:\n"
        "embedding:\n  protocol: http\n  host: localhost\n  port: 5000\n  workers: 1\n  offload_after_mins: 15\n"
        "  request_timeout: 1800\n  llama:\n    model: x.gguf\n    n_ctx: 8192\n"
        "llm:\n  nc_texttotext:\n  llama:\n    model_path: x\n  ctransformer:\n    model: x\n  hugging_face:\n",
        # the shape of 5.x
        "verify_ssl: true\ndoc_indexing_batch_size: 32\nactions_batch_size: 512\nfile_parsing_cpu_count: -1\n"
        "concurrent_file_fetches: 10\nvectordb:\n  pgvector:\n"
        "embedding:\n  base_url: http://localhost:5000/v1\n  workers: 1\n  request_timeout: 1750\n  batch_size: 100\n"
        "  remote_service: false\n  model_name: em_model\n  auth:\n  llama:\n    n_batch: 16\n"
        "llm:\n  nc_texttotext:\n",
    ],
)
def test_configurations_of_the_reference_load(tmp_path: Path, text: str) -> None:
    loaded = read(tmp_path, text)

    assert (loaded.embedding.name, loaded.llm.name, loaded.database_url) == ("onnx", "nc_texttotext", None)
    assert loaded.warnings


def test_whose_certificates_nextcloud_may_show(tmp_path: Path) -> None:
    file = tmp_path / "authorities.pem"
    file.write_text("")

    def trusted(text: str = "", **environment: str) -> bool | str:
        return read(tmp_path, text, **environment).app.trusted_certificates

    assert trusted() is True
    assert trusted("verify_ssl: false") is False
    assert trusted("httpx_verify_ssl: false") is False
    assert trusted(NPA_NC_CERT="false") is False
    assert trusted("verify_ssl: false", NPA_NC_CERT=str(file)) == str(file)
    with pytest.raises(ConfigurationError, match="NPA_NC_CERT"):
        trusted(NPA_NC_CERT=str(tmp_path / "nothing.pem"))


def test_options_have_their_names_in_langchain_too(tmp_path: Path) -> None:
    text = "llm:\n  openai:\n    openai_api_base: http://x/v1\n    model_name: m\n    temperature: 1\n    top_p: 0.9\n"
    loaded = read(tmp_path, text)

    assert loaded.llm.options == {"base_url": "http://x/v1", "model": "m", "temperature": 1}
    assert loaded.warnings == ("llm.openai.top_p has no effect here",)


TEMPLATE = "<|im_start|>user {context} Q: {question}<|im_end|>"


@pytest.fixture
def _every_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen_models, "find_spec", lambda name: object())


@pytest.mark.usefixtures("_every_library")
def test_language_models_of_old_files_mean_what_they_meant(tmp_path: Path) -> None:
    prompts = f'    template: "{TEMPLATE}"\n    no_ctx_template: "Q: {{question}}"\n    end_separator: "<|im_end|>"\n'
    llama = read(
        tmp_path,
        "llm:\n  llama:\n    model_path: dolphin.gguf\n    n_batch: 10\n    n_ctx: 8192\n    max_tokens: 4096\n"
        f"    n_gpu_layers: -1\n    verbose: true\n{prompts}  hugging_face:\n    model_id: gpt2\n",
    )
    said = {"template": TEMPLATE, "no_ctx_template": "Q: {question}", "end_separator": "<|im_end|>"}

    assert llama.llm.name == "llama"
    assert llama.llm.options == {
        "model_path": "dolphin.gguf", "n_batch": 10, "n_ctx": 8192, "max_tokens": 4096, "n_gpu_layers": -1, **said,
    }  # fmt: skip
    assert llama.warnings == ("llm.llama.verbose has no effect here",)

    old = read(
        tmp_path,
        "llm:\n  ctransformer:\n    model: dolphin.gguf\n    model_type: llama\n    config:\n"
        "      context_length: 8192\n"
        f"      max_new_tokens: 512\n      gpu_layers: 20\n      reset: true\n{prompts}",
    )
    assert old.llm.name == "llama"
    assert old.llm.options == {
        "model_path": "dolphin.gguf", "n_ctx": 8192, "max_tokens": 512, "n_gpu_layers": 20, **said,
    }  # fmt: skip
    assert any("llm.ctransformer is read as llm.llama" in warning for warning in old.warnings)

    pipeline = read(
        tmp_path,
        "llm:\n  hugging_face:\n    model_id: gpt2\n    task: text-generation\n    template: ''\n"
        "    pipeline_kwargs:\n      max_new_tokens: 100\n      config:\n        max_length: 200\n",
    )
    assert pipeline.llm.options["n_ctx"] == 200
    assert pipeline.llm.options["max_tokens"] == 100
    assert "template" not in pipeline.llm.options


@pytest.mark.usefixtures("_no_library")
def test_without_their_libraries_language_models_are_passed_over(tmp_path: Path) -> None:
    loaded = read(tmp_path, "llm:\n  llama:\n    model_path: x.gguf\n  ctransformer:\n    model: x\n  extractive:\n")

    assert loaded.llm.name == "extractive"
    assert sum("pip install '.[llama]'" in warning for warning in loaded.warnings) == 2


@pytest.mark.usefixtures("_every_library")
def test_fall_backs_are_named_in_their_order(tmp_path: Path) -> None:
    section = "llm_fallback:\n  openai:\n    base_url: http://y\n    model: m\n  extractive:\n"
    listed = "llm_fallback:\n- openai: {base_url: http://y, model: m}\n- llama: {model_path: x}\n- extractive\n"

    assert [choice.name for choice in read(tmp_path, section).llm_fallback] == ["openai", "extractive"]
    assert [choice.name for choice in read(tmp_path, listed).llm_fallback] == ["openai", "llama", "extractive"]
    assert read(tmp_path, section).llm_fallback[0].options == {"base_url": "http://y", "model": "m"}
    assert read(tmp_path, "llm_fallback: extractive").llm_fallback[0].name == "extractive"
    assert read(tmp_path).llm_fallback == ()


@pytest.mark.usefixtures("_every_library")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("llm:\n  llama:\n    template: '{context}'\n", "llm.llama.template: it has to hold {context} and {question}"),
        ("llm:\n  llama:\n    template: '{context} {question} {x}'\n", "no other name in braces"),
        ("llm:\n  llama:\n    no_ctx_template: '{question.__class__}'\n", "llm.llama.no_ctx_template"),
        ("llm:\n  llama:\n    n_ctx: 0\n", "llm.llama.n_ctx: expected a whole number of at least 1"),
        ("llm:\n  llama:\n    stop: x\n", "llm.llama.stop: expected a list of texts"),
        ("llm:\n  llama:\n    n_ctxx: 4\n", "did you mean 'n_ctx'?"),
        ("llm_fallback: 3", "llm_fallback: expected names of models"),
        ("llm_fallback:\n  opnai:\n", "unknown key 'llm_fallback.opnai'; did you mean 'openai'?"),
        ("llm_fallback:\n  openai:\n    max_tokens: many\n", "llm_fallback.openai.max_tokens: expected a whole"),
    ],
)
def test_wrong_options_of_language_models_are_refused_with_the_cure(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        read(tmp_path, text)


def test_a_remote_embedding_server_is_described_as_in_the_reference(tmp_path: Path) -> None:
    text = (
        "embedding:\n  base_url: http://x/v1\n  remote_service: true\n  model_name: m\n  workers: 0\n  batch_size: 9\n"
        "  auth:\n    apikey: k\n  llama:\n    model: x.gguf\n"
    )
    loaded = read(tmp_path, text)

    assert loaded.embedding.name == "openai"
    assert loaded.embedding.options == {"base_url": "http://x/v1", "model_name": "m", "batch_size": 9, "api_key": "k"}
    assert loaded.warnings == ("embedding: workers: without effect, the model runs without a server",)


def test_an_address_without_a_model_is_a_remote_server(tmp_path: Path) -> None:
    text = "embedding:\n  base_url: http://x/v1\n  auth:\n    username: u\n    password: p\n"

    assert read(tmp_path, text).embedding.options == {"base_url": "http://x/v1", "username": "u", "password": "p"}


def test_variables_name_a_remote_embedding_server_and_win(tmp_path: Path) -> None:
    key = read(tmp_path, CC_EM_BASE_URL="http://x/v1", CC_EM_MODEL_NAME="m", CC_EM_APIKEY="k")
    text = "embedding:\n  openai:\n    base_url: http://y/v1\n    auth: from_env\n    request_timeout: 7\n"
    login = read(tmp_path, text, CC_EM_BASE_URL="http://x/v1", CC_EM_USERNAME="u", CC_EM_PASSWORD="p")
    file = read(tmp_path, text, CC_EM_APIKEY="k")

    assert key.embedding.options == {"base_url": "http://x/v1", "model_name": "m", "api_key": "k"}
    assert any("'onnx', is not used" in warning for warning in key.warnings)
    assert login.embedding.options == {
        "base_url": "http://x/v1", "request_timeout": 7, "username": "u", "password": "p",
    }  # fmt: skip
    assert file.embedding.options == {"base_url": "http://y/v1", "request_timeout": 7, "api_key": "k"}
    assert "http://x" not in repr(key.embedding)


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        ("embedding:\n  openai:\n", {}, "embedding.openai.base_url"),
        ("embedding:\n  openai:\n    base_url: localhost\n", {}, "expected a URL"),
        ("", {"CC_EM_BASE_URL": "localhost:5000"}, "expected a URL"),
        ("", {"CC_EM_BASE_URL": "http://x", "CC_EM_USERNAME": "u"}, "username and password belong together"),
        ("embedding:\n  openai:\n    base_url: http://x\n    auth: key\n", {}, "expected apikey, or username"),
        ("embedding:\n  openai:\n    base_url: http://x\n    auth:\n      apikee: k\n", {}, "did you mean 'apikey'"),
        ("", {"CC_DOWNLOAD_MODELS_FROM_HF": "maybe"}, "CC_DOWNLOAD_MODELS_FROM_HF: expected true or false"),
    ],
)
def test_a_wrong_remote_server_is_refused_with_the_cure(
    tmp_path: Path, text: str, variables: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        read(tmp_path, text, **variables)


def test_a_login_without_a_server_warns(tmp_path: Path) -> None:
    assert any("CC_EM_BASE_URL is not set" in warning for warning in read(tmp_path, CC_EM_APIKEY="k").warnings)


def test_models_may_be_downloaded_unless_it_is_forbidden(tmp_path: Path) -> None:
    assert read(tmp_path).download_models
    assert read(tmp_path, CC_DOWNLOAD_MODELS_FROM_HF="true").download_models
    assert not read(tmp_path, CC_DOWNLOAD_MODELS_FROM_HF="False").download_models


def test_a_model_whose_library_is_not_installed_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "embedding:\n  llama:\n    model_path: x.gguf\n    n_gpu_layers: -1\n    n_ctx: 8192\n    seed: 3\n"
    monkeypatch.setattr(chosen_models, "find_spec", lambda name: None)
    without = read(tmp_path, text)
    monkeypatch.setattr(chosen_models, "find_spec", lambda name: object())
    with_ = read(tmp_path, text)

    assert without.embedding.name == "onnx"
    assert any("pip install '.[llama]'" in warning for warning in without.warnings)
    assert with_.embedding.options == {"model": "x.gguf", "n_gpu_layers": -1, "n_ctx": 8192}
    assert with_.warnings == ("embedding.llama.seed has no effect here",)


def test_keys_of_the_reference_are_mapped_or_passed_over_with_a_warning(tmp_path: Path) -> None:
    text = "debug: true\nembedding_chunk_size: 2000\ndoc_parser_worker_limit: 3\nuvicorn_workers: 1\nuse_colors: true\n"
    loaded = read(tmp_path, text)

    assert loaded.log_level == "debug"
    assert (loaded.indexing.chunk_tokens, loaded.indexing.parser_processes) == (500, 3)
    assert sum("has no effect" in warning for warning in loaded.warnings) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chunk_tockens: 900", "did you mean 'chunk_tokens'?"),
        ("chunk_overlap_tokens: -1", "chunk_overlap_tokens: expected a whole number of at least 0"),
        ("ocr_languages: {a: b}", "ocr_languages: expected names of Tesseract"),
        ("ocr_languages: [../deu]", "ocr_languages: expected names of Tesseract"),
        ("chunk_overlap_tokens: 101", "chunk_overlap_tokens: 101 is more than half of chunk_tokens, which is 200"),
        ("llm:\n  opnai:\n", "did you mean 'openai'?"),
        ("embedding:\n  onxx:\n", "did you mean 'onnx'?"),
        ("vectordb:\n  mongodb:\n", "there are: pgvector"),
        ("parser_processes: many", "parser_processes: expected a whole number of at least 1, found 'many'"),
        ("parser_processes: 0", "at least 1"),
        ("parser_processes: true", "whole number"),
        ("disable_aaa: maybe", "disable_aaa: expected true or false"),
        ("log_level: loud", "log_level: expected one of debug, info, warning, error"),
        ("llm: 3", "llm: expected a section"),
        ("llm:\n  openai: yes please\n", "llm.openai: expected options"),
        ("vectordb:\n  pgvector:\n    conection: postgresql://h/d\n", "did you mean 'connection'?"),
        ("vectordb:\n  pgvector:\n    connection: 5432\n", "vectordb.pgvector.connection: expected a text"),
        ("embedding:\n  onnx:\n    quantized: true\n", "did you mean 'quantised'?"),
        ("embedding:\n  onnx:\n    quantised: maybe\n", "embedding.onnx.quantised: expected true or false"),
        ("embedding:\n  hashing:\n    dimension: 0\n", "embedding.hashing.dimension: expected a whole number"),
        ("llm:\n  openai:\n    temperature: warm\n", "llm.openai.temperature: expected a number"),
        ("reranker:\n  remot:\n", "did you mean 'remote'?"),
        ("reranker:\n  onnx:\n    path: x\n", "unknown key 'reranker.onnx.path'"),
        ("reranker:\n  remote:\n    request_timeout: 0\n", "reranker.remote.request_timeout: expected a whole number"),
        ("llm:\n  extractive:\n    length: 3\n", "unknown key 'llm.extractive.length'; it has none"),
        ("embedding_chunk_size: much", "embedding_chunk_size: expected a whole number"),
        ("- a\n- b", "expected lines 'key: value'"),
        ("a: [", "this is not YAML"),
        (
            "vectordb:\n  pgvector:\n    connection: mysql://x\n",
            "vectordb.pgvector.connection: expected a URL postgresql",
        ),
    ],
)
def test_what_is_wrong_in_the_file_stops_the_start_with_key_and_cure(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"APP_PORT": "http"}, "APP_PORT: expected a port"),
        ({"APP_PORT": "70000"}, "APP_PORT"),
        ({"NEXTCLOUD_URL": "cloud.example"}, "NEXTCLOUD_URL: expected a URL"),
        ({"NEXTCLOUD_URL": "//[::1"}, "NEXTCLOUD_URL: expected a URL"),
        ({"CCB_DB_URL": "sqlite:///x"}, "CCB_DB_URL"),
        ({"APP_HOST": "0.0.0.0"}, "APP_SECRET"),
    ],
)
def test_what_is_wrong_in_the_environment_stops_the_start_with_its_name(
    tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    assert said in refused(tmp_path, **environment)


def test_authentication_is_switched_off_on_loopback_only(tmp_path: Path) -> None:
    assert read(tmp_path, "disable_aaa: true").app.disable_aaa
    assert "disable_aaa" in refused(tmp_path, "disable_aaa: true", APP_HOST="0.0.0.0", APP_SECRET="long")


@pytest.mark.parametrize("surface", ["nextcloud", "metrics"])
def test_a_further_port_without_authentication_is_on_loopback_too(tmp_path: Path, surface: str) -> None:
    text = "disable_aaa: true\nlisteners:\n  - {port: 5001, surfaces: [%s], host: %s}\n"

    assert "5001" in refused(tmp_path, text % (surface, "0.0.0.0"))
    assert read(tmp_path, text % (surface, "127.0.0.1")).app.disable_aaa
    assert read(tmp_path, text % ("openai", "0.0.0.0")).app.disable_aaa  # programs have keys


def test_processes_of_models_are_told_no_secret() -> None:
    given = {
        "PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "2",
        "APP_SECRET": "s", "CCB_DB_URL": "s", "HP_SHARED_KEY": "s", "HF_TOKEN": "s", "OPENAI_API_KEY": "s",
        "PGPASSWORD": "s", "AWS_SECRET_ACCESS_KEY": "s", "CC_EM_APIKEY": "s", "GOOGLE_APPLICATION_CREDENTIALS": "s",
    }  # fmt: skip

    kept = environment_without_secrets(given)
    assert set(kept) == {"PATH", "CUDA_VISIBLE_DEVICES", "TOKENIZERS_PARALLELISM", "OMP_NUM_THREADS"}


def test_refusals_are_bounded_as_the_key_says(tmp_path: Path) -> None:
    assert read(tmp_path).app.refusals_per_minute == 100
    assert read(tmp_path, "refusals_per_minute: 5").app.refusals_per_minute == 5
    assert "refusals_per_minute: expected a whole number" in refused(tmp_path, "refusals_per_minute: 0")


def test_authentication_is_never_switched_off_behind_harp(tmp_path: Path) -> None:
    assert "HP_SHARED_KEY" in refused(tmp_path, "disable_aaa: true", HP_SHARED_KEY="k")


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()

    with pytest.raises(ConfigurationError, match=r"config\.yaml cannot be read"):
        load({"APP_PERSISTENT_STORAGE": str(tmp_path)}, cores=4)


def test_the_secret_of_the_examples_warns(tmp_path: Path) -> None:
    assert any("APP_SECRET" in warning for warning in read(tmp_path, APP_SECRET="12345").warnings)


def test_every_secret_is_known_to_whoever_masks_them(tmp_path: Path) -> None:
    text = (
        "embedding:\n  openai:\n    base_url: http://x/v1\n    model_name: m\n    api_key: of the embedder\n"
        "llm:\n  openai:\n    base_url: http://x/v1\n    model: m\n    api_key: of the writer\n"
        "reranker:\n  remote:\n    base_url: http://x/v1\n    model: m\n    api_key: of the ranker\n"
        "safety:\n  judge: remote\n  base_url: http://x/v1\n  api_key: of the judge\n"
    )
    loaded = read(tmp_path, text, APP_SECRET="of the app", CCB_DB_URL="postgresql://me:of%20the%20store@x/y")

    assert {f"of the {whose}" for whose in ("embedder", "writer", "ranker", "judge", "app", "store")} <= (
        config.secrets_of(loaded)
    )


def test_secrets_print_as_stars(tmp_path: Path) -> None:
    text = "llm:\n  openai:\n    api_key: hush\n"
    loaded = read(tmp_path, text, APP_SECRET="hush", CCB_DB_URL="postgresql://u:hush@h/d")

    assert "hush" not in f"{loaded!r} {loaded.app.secret} {loaded.database_url!s}"
    assert loaded.app.secret is not None
    assert loaded.app.secret.reveal() == "hush"
    with pytest.raises(TypeError):
        json.dumps(loaded.app.secret)


@pytest.mark.parametrize(
    "text", ["llm:\n  openai:\n    api_key: 4711\n", "vectordb:\n  pgvector:\n    connection: mysql://u:4711@h/d\n"]
)
def test_what_is_wrong_with_a_secret_is_said_without_quoting_it(tmp_path: Path, text: str) -> None:
    assert "4711" not in refused(tmp_path, text)


def test_the_database_comes_from_file_then_our_variable_then_the_references(tmp_path: Path) -> None:
    def url(text: str = "", **environment: str) -> str | None:
        found = read(tmp_path, text, **environment).database_url
        return None if found is None else found.reveal()

    file = "vectordb:\n  pgvector:\n    connection: postgresql+psycopg://file/d\n"
    both = {"CCB_DB_URL": "postgresql://ours/d", "EXTERNAL_DB": "postgresql+psycopg://theirs/d"}
    assert url(file, **both) == "postgresql://file/d"
    assert url(**both) == "postgresql://ours/d"
    assert url(EXTERNAL_DB=both["EXTERNAL_DB"]) == "postgresql://theirs/d"
    assert url() is None


@pytest.mark.parametrize("given", ["https://c.example", "https://c.example/", "https://c.example/index.php/"])
def test_the_url_of_nextcloud_is_brought_to_one_form(tmp_path: Path, given: str) -> None:
    assert read(tmp_path, NEXTCLOUD_URL=given).app.nextcloud_url == "https://c.example"


def test_harp_means_a_unix_socket(tmp_path: Path) -> None:
    assert read(tmp_path).app.harp_socket is None
    assert read(tmp_path, HP_SHARED_KEY="k").app.harp_socket == Path("/tmp/exapp.sock")
    assert read(tmp_path, HP_SHARED_KEY="k", HP_EXAPP_SOCK="/run/x").app.harp_socket == Path("/run/x")


def test_an_unknown_role_is_the_normal_one(tmp_path: Path) -> None:
    loaded = read(tmp_path, APP_ROLE="chef")

    assert loaded.app.role == "normal"
    assert any("APP_ROLE" in warning for warning in loaded.warnings)


def test_the_real_environment_wins_over_the_file(tmp_path: Path) -> None:
    text = "# note\nexport APP_PORT='1'\nAPP_ID=\"file\"\nAPP_HOST = ::1\nnonsense\nEMPTY=\n"
    (tmp_path / ".env").write_text(text, encoding="utf-8")

    read = read_environment(tmp_path, {"APP_ID": "real"})

    assert read == {"APP_PORT": "1", "APP_ID": "real", "APP_HOST": "::1", "EMPTY": ""}


def test_a_file_of_variables_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("APP_ID=\u00fc".encode("utf-16"))

    with pytest.raises(ConfigurationError, match=r"\.env"):
        read_environment(tmp_path, {})


def test_every_variable_and_key_is_in_the_example_and_in_the_page() -> None:
    example = re.findall(r"^#? ?([A-Z0-9_]+)=", (ROOT / "example.env").read_text(encoding="utf-8"), re.MULTILINE)
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    source = (ROOT / "context_chat_backend" / "config.py").read_text(encoding="utf-8")
    source += (ROOT / "context_chat_backend" / "hardware.py").read_text(encoding="utf-8")
    used = set(re.findall(r'environment\.get\("([A-Z_]+)"', source))

    assert sorted(example) == sorted(VARIABLES)
    assert used <= set(VARIABLES)
    models = {
        f"{section}.{model}{'.' + option if option else ''}"
        for section, known in chosen_models.MODELS.items()
        for model, options in known.items()
        for option in options or ("",)
    }
    models |= {
        f"llm.{model}{'.' + option if option else ''}"
        for model, known in language.LANGUAGE_MODELS.items()
        for option in [*(option for option in known if option not in language.PROMPTS), ""]
    }
    models |= {"llm_fallback", *language.PROMPTS}
    named = {*models, *settings.NUMBERS, *keys.WITHOUT_EFFECT, *keys.MAPPED, *chosen_models.LANGCHAIN_NAMES}
    for name in {*VARIABLES, *named, "disable_aaa", "refusals_per_minute", "log_level", "debug"}:
        assert f"`{name}`" in page, f"docs/configuration.md lacks {name}"


def test_the_page_names_the_defaults(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")

    computed = {"chunk_overlap_tokens": "a tenth of `chunk_tokens`"}
    for key, (default, _) in settings.NUMBERS.items():
        assert f"| `{key}` | {computed.get(key, 'half the cores') if default is None else default} |" in page


def test_a_tenth_of_a_chunk_is_shared_unless_it_is_set(tmp_path: Path) -> None:
    assert read(tmp_path, "chunk_tokens: 120").indexing.chunk_overlap_tokens == 12
    assert read(tmp_path, "chunk_tokens: 120\nchunk_overlap_tokens: 0").indexing.chunk_overlap_tokens == 0


@pytest.mark.parametrize(
    ("written", "languages"), [("[deu, chi_sim]", ("deu", "chi_sim")), ("deu+eng", ("deu", "eng")), ("", ())]
)
def test_languages_of_pictures_are_a_list_or_joined_as_tesseract_does(
    tmp_path: Path, written: str, languages: tuple[str, ...]
) -> None:
    assert read(tmp_path, f"ocr_languages: {written}").indexing.recognition_languages == languages


def test_nextcloud_alone_is_served_unless_listeners_say_more(tmp_path: Path) -> None:
    text = "[{port: 5000, surfaces: [openai]}, {port: 10034, surfaces: [nextcloud, openai], host: '::1'}]"

    assert read(tmp_path).listeners == ()
    assert read(tmp_path, f"listeners: {text}").listeners == (
        settings.Listener(5000, ("openai",)),
        settings.Listener(10034, ("nextcloud", "openai"), "::1"),
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("5000", "listeners: expected a list"),
        ("[5000]", "listeners[0]: expected port and surfaces"),
        ("[{port: 0, surfaces: [openai]}]", "listeners[0].port: expected a port"),
        ("[{port: '5000', surfaces: [openai]}]", "listeners[0].port: expected a port"),
        ("[{port: 5000}]", "listeners[0].surfaces: expected some of nextcloud, openai"),
        ("[{port: 5000, surfaces: [open]}]", "listeners[0].surfaces"),
        ("[{port: 5000, surface: [openai]}]", "'surfaces'"),
        ("[{port: 5000, surfaces: [openai], host: 1}]", "listeners[0].host"),
        ("[{port: 5000, surfaces: [openai]}, {port: 5000, surfaces: [nextcloud]}]", "5000 stands there twice"),
    ],
)
def test_a_wrong_listener_is_refused_by_its_place(tmp_path: Path, written: str, said: str) -> None:
    assert said in refused(tmp_path, f"listeners: {written}")
