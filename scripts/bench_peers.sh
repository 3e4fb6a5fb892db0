#!/usr/bin/env bash
# This program's speed beside diffusers' on the CPU: bench/peers/__main__.py says what is compared and takes the arguments.
# scripts/venv.sh says where torch and diffusers come from.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh
export PYTHONWARNINGS=ignore HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error DIFFUSERS_VERBOSITY=error
exec "$VENV/bin/python" bench/peers "$@"
