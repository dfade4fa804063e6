#!/usr/bin/env bash
# A wheel in an empty environment and an empty folder: it is listed, runs a small benchmark, and says its version.
# Usage: smoke.sh WHEEL [PIP ARGUMENT ...]
set -euo pipefail
wheel=$(realpath "$1")
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/env"
"$work/env/bin/pip" install -q "$@" "$wheel"
cd "$work"
env/bin/clsuite --version
env/bin/clsuite list plugins | grep replay
env/bin/clsuite list benchmarks | grep quickstart
env/bin/clsuite bench quickstart --methods ncm,replay --seeds 0 --limit-tasks 2
env/bin/python -c 'import clsuite; print(clsuite.run("quickstart", "ncm", seed=0, limit_tasks=2, progress=False))'
