# SPDX-License-Identifier: AGPL-3.0-or-later
"""Context Chat Backend: permission-aware answers from your own documents."""

__version__ = "5.4.0"
