#!/bin/sh
# SPDX-License-Identifier: AGPL-3.0-or-later
# To be sourced, from anywhere: `. deploy/chatqna/set_env.sh`. Sets what compose.yaml reads where it is not set yet.
if [ -n "${BASH_SOURCE:-}" ]; then
    _chatqna_here=$(cd "$(dirname "${BASH_SOURCE}")" && pwd)
else
    _chatqna_here=$(cd "$(dirname "$0")" 2>/dev/null && pwd)
fi
export MODELS_DIR="${MODELS_DIR:-$_chatqna_here/models}"
export MODEL_FILE="${MODEL_FILE:-model.gguf}"
export LLAMA_CTX_SIZE="${LLAMA_CTX_SIZE:-4096}"
export GPU_LAYERS="${GPU_LAYERS:-99}"
export HOST_PORT="${HOST_PORT:-8888}"
if [ ! -f "$MODELS_DIR/$MODEL_FILE" ]; then
    echo "There is no $MODELS_DIR/$MODEL_FILE: put a GGUF file there, or set MODELS_DIR and MODEL_FILE." >&2
fi
unset _chatqna_here
