#!/usr/bin/env bash
# As in the shorter check, with 50 steps and more after each change.
STEPS=160 exec bash "$(dirname "$0")/../scripts/resume_ranks.sh"
