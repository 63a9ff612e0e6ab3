# SPDX-License-Identifier: AGPL-3.0-or-later
"""A server that does what it is told: as llama.cpp, OpenAI, Ollama, Refact or Elasticsearch, with faults in a script.

By hand: `python -m tests.model_double --port 8080`, then for example

    curl -s localhost:8080/double/script -d '[{"fault": "status", "status": 503}, {"says": "The roof costs 5 [1]."}]'
    curl -s localhost:8080/double/script -d '{"judge": [{"says": "SAFE: true"}], "writer": [{"says": "5 [1]"}]}'
    curl -s localhost:8080/double/requests
    curl -s localhost:8080/double/elasticsearch -d '[{"status": 503}]'

The script is a list of steps, one for each request, the last one for ever; or such a list for each model by its name.
Without a script it says "stub answer"; models called `stub-…` (`writing.MODELS`) do what their name says. A step may
hold `says` (the text), `pieces` (the text as it is cut), `seconds` between them, `thinks`, `calls`, `usage`, `finish`,
`scores` of a re-ranker, and a `fault` of `faults.py`. A last message of the user with `#echo`, `#slow`, `#500`,
`#loading`, `#overflow`, `#cut` or `#think` is a step, too.

| it speaks | at |
|---|---|
| OpenAI, llama.cpp | `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`, `/v1/rerank`, `/v1/moderations`, `/health`, `/props`, `/tokenize` |
| Ollama | `/api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings`, `/api/tags`, `/api/ps`, `/api/show`, `/api/version` |
| Refact | `/refact-caps`; `/stub/cancelled` says how many callers left before the end |
| Elasticsearch | `/_bulk`, `/{index}/_bulk`, `/{index}`, `/_cluster/health` |
"""  # noqa: E501
