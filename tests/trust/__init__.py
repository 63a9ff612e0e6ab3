# SPDX-License-Identifier: AGPL-3.0-or-later
"""Kill tests: the real program under load, a fault at a random moment, and what must be true after it.

`make trust SEEDS=n` runs n of them; docs/reliability.md has the promises and the results.
"""
