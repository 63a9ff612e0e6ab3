# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nextcloud's side of the contracts, from the documents alone: a program of its own that shares no code with ours."""
