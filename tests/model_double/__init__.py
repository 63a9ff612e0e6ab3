# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model server that does what it is told: OpenAI's protocol as llama.cpp speaks it, with faults in a script.

By hand: `python -m tests.model_double --port 8080`, then for example

    curl -s localhost:8080/double/script -d '[{"fault": "status", "status": 503}, {"says": "The roof costs 5 [1]."}]'
    curl -s localhost:8080/double/requests

The script is a list of steps, one for each generation, the last one for ever; without a script it says "stub answer".
A step may hold `says` (the text), `pieces` (the text as it is cut), `usage`, `finish`, and a `fault` of `faults.py`. A
last message of the user with `#echo`, `#slow`, `#500`, `#loading`, `#overflow`, `#cut` or `#think` is a step, too.
"""
