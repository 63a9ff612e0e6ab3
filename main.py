#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start Context Chat Backend. Without arguments it serves, with the environment an ExApp gets from AppAPI."""

import sys

if sys.version_info < (3, 11):
    sys.exit("Context Chat Backend needs Python 3.11 or newer; this is " + sys.version.split()[0])

if __name__ == "__main__":
    from context_chat_backend.cli.app import main

    sys.exit(main(sys.argv[1:] or ["serve"]))
