#!/usr/bin/env python3
"""Counts the oil."""

LITRES = 400


class Tank:
    # the size in litres
    def fill(self, litres: int) -> None:
        self.litres = litres  # Öl


def drain() -> int:
    return LITRES
