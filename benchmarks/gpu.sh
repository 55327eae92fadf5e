#!/usr/bin/env bash
# Everything that wants a GPU, in one command and under ten minutes: the tests that need CUDA, then the benchmarks of
# sampling and of training beside the published codes. Their output and their numbers as JSON go to a folder.
#
#     benchmarks/gpu.sh OUTPUT [GUIDED_DIFFUSION [ROBUST_TRAINING [DATA]]]
#
# OUTPUT            a folder, made where it is missing
# GUIDED_DIFFUSION  a checkout of openai/guided-diffusion, to sample beside
# ROBUST_TRAINING   a checkout of bahjat-kawar/enhancing-diffusion-robust, to train beside
# DATA              Fashion-MNIST's files, for the training; Debian's package's folder unless given
#
# What is not given is left out, and summary.json says so. PYTHON names an interpreter; it needs torch, numpy,
# safetensors, Pillow, pytest and hypothesis, and no network.
set -uo pipefail

if [ $# -lt 1 ]; then
    sed -n '5,14s/^# \{0,1\}//p' "$0"
    exit 2
fi
output=$(mkdir -p "$1" && realpath "$1") || exit 2
guided=${2:+$(realpath "$2")}
robust=${3:+$(realpath "$3")}
data=$(realpath -m "${4:-/usr/share/datasets/fashion-mnist}")
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}

if ! "$python" -c 'import torch; assert torch.cuda.is_available()' 2>"$output/cuda.log"; then
    echo "$python has no torch that finds a CUDA device: see $output/cuda.log, or let PYTHON name another." >&2
    exit 1
fi

failed=0
summary=()

# part NAME SECONDS COMMAND...: run it within the time, keep what it says, and note how it ended.
part() {
    local name=$1 limit=$2 status start=$SECONDS
    shift 2
    echo "== $name"
    timeout "$limit" "$@" 2>&1 | tee "$output/$name.log"
    status=${PIPESTATUS[0]}
    [ "$status" -eq 0 ] || failed=1
    summary+=("\"$name\": {\"status\": $status, \"seconds\": $((SECONDS - start))}")
}

left_out() {
    echo "== $1: left out, $2"
    summary+=("\"$1\": \"left out, $2\"")
}

# Without the project's own settings, these tests need neither Django nor a database.
part tests 150 "$python" -m pytest -c /dev/null --rootdir . -p no:django -p no:cacheprovider -q -k cuda \
    --junitxml "$output/tests.xml" tests/generation/test_determinism.py tests/generation/test_frozen.py

if [ -n "$guided" ]; then
    part sampling 270 "$python" -m benchmarks.sampling --reference "$guided" --device cuda --pairs 8 32 --steps 5 10 \
        --rounds 2 --json "$output/sampling.json"
else
    left_out sampling "no checkout of guided-diffusion was given"
fi

if [ -n "$robust" ] && [ -d "$data" ]; then
    part training 150 "$python" -m benchmarks.training --reference "$robust" --device cuda --data "$data" --mixed \
        --batch-size 128 --rounds 3 --json "$output/training.json"
else
    left_out training "no checkout of the published training or no data was given"
fi

{ printf '{'; printf '%s' "${summary[0]}"; printf ', %s' "${summary[@]:1}"; printf '}\n'; } >"$output/summary.json"
cat "$output/summary.json"
exit "$failed"
