# SPDX-License-Identifier: AGPL-3.0-or-later
# shellcheck shell=sh
# To be sourced, from any folder:  . deploy/compose/set_env.sh
# Sets what llama.yaml reads, where it is not set, and complains about a model that is not there. Nothing is downloaded.

if [ -n "${BASH_SOURCE:-}" ]; then
    # shellcheck disable=SC3054,SC3028  # in bash only
    ccb_folder=$(cd "$(dirname "$BASH_SOURCE")" && pwd)
else
    ccb_folder=$(pwd)
fi

export MODELS_DIR="${MODELS_DIR:-$ccb_folder/models}"
export LLAMA_CTX_SIZE="${LLAMA_CTX_SIZE:-4096}"
export HOST_PORT="${HOST_PORT:-8888}"
export GPU_LAYERS="${GPU_LAYERS:-99}"
export NEXTCLOUD_URL="${NEXTCLOUD_URL:-}"

if [ -z "${MODEL_FILE:-}" ]; then
    echo "MODEL_FILE is not set: name a GGUF file in $MODELS_DIR" >&2
elif [ ! -f "$MODELS_DIR/$MODEL_FILE" ]; then
    echo "there is no $MODELS_DIR/$MODEL_FILE: put the model there, or set MODELS_DIR and MODEL_FILE" >&2
    export MODEL_FILE
else
    export MODEL_FILE
fi
unset ccb_folder
