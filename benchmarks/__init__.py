# SPDX-License-Identifier: AGPL-3.0-or-later
"""How fast it is: each module is a command that prints a table, or with --json one line of JSON."""
