# SPDX-License-Identifier: AGPL-3.0-or-later
"""The keys of `config.yaml`: which there are, of which type, and what becomes of those of the reference."""

from context_chat_backend.settings.keys import NUMBERS, KeyReader, read_yaml
from context_chat_backend.settings.listeners import SURFACES, Listener
from context_chat_backend.settings.models import ModelChoice

__all__ = ["NUMBERS", "SURFACES", "KeyReader", "Listener", "ModelChoice", "read_yaml"]
