#!/usr/bin/env bash
# A wheel in an empty environment and an empty folder: README's example runs as it is written there, Python reads what it
# left, and words are completed. Usage: smoke.sh WHEEL [PIP ARGUMENT ...]
set -euo pipefail

# The commands of README's section "An example".
example() {
    awk '/^## / { here = ($0 == "## An example"); code = 0 } /^```$/ { code = 0 } here && code; /^```sh$/ { code = 1 }' "$1"
}

# What bash offers, by a script of --print-completion, for the last of some words.
completed() {
    bash -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        [[ $(complete -p clsuite) =~ -F\ ([^ ]+) ]]
        "${BASH_REMATCH[1]}" clsuite "${@: -1}" "${@: -2:1}"
        printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}

main() {
    local readme wheel
    readme=$(realpath "$(dirname "$0")/../README.md")
    wheel=$(realpath "$1")
    shift
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    python3 -m venv "$work/env"
    "$work/env/bin/pip" install -q "$@" "$wheel"
    cd "$work"
    PATH=$work/env/bin:$PATH

    clsuite --version
    clsuite list plugins | grep replay
    clsuite list benchmarks | grep quickstart
    example "$readme" | tee example.sh
    grep -q '^clsuite bench quickstart' example.sh
    bash -euo pipefail example.sh | tee example.txt
    for method in finetune ncm replay; do grep -qw "$method" example.txt; done
    python -c 'import clsuite; print(clsuite.run("quickstart", "ncm", seed=0, progress=False))'
    clsuite --print-completion bash >completion.bash
    completed completion.bash clsuite ben | grep -x bench
    completed completion.bash clsuite bench quick | grep -x quickstart
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
