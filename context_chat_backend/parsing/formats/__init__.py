# SPDX-License-Identifier: AGPL-3.0-or-later
"""One module for each format or family of formats: bytes to domain.Document."""
