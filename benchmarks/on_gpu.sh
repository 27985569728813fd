#!/usr/bin/env bash
# Tests and benchmarks that want a GPU, in at most eight minutes, and one table of what came out.
#
#     benchmarks/on_gpu.sh [--cpu] [FOLDER]
#
# Each part has a time limit, and one that fails or runs out of it leaves the others alone. What the parts print is in
# FOLDER (by default on_gpu), with the table, table.md. Without a GPU, or with --cpu, the same parts run as small as they can: that
# shows that they run, and their numbers say nothing. PYTHON=... names the Python, by default the one of .venv.
set -u
cd "$(dirname "$0")/.." || exit 1

small=no
if [ "${1:-}" = --cpu ]; then
    small=yes
    shift
fi
folder=${1:-on_gpu}
python=${PYTHON:-.venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$folder"
table=$folder/table.md
deadline=$((SECONDS + 480))

device=$("$python" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.device_count() else "")' 2>/dev/null)
if [ -z "$device" ] && [ $small = no ]; then
    echo "no GPU is visible here: all parts run as small as they can on the CPU"
    small=yes
fi

{
    echo "$("$python" -c 'import platform, torch, transformers, pytorch_lightning as lightning
print(f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__},",
      f"pytorch-lightning {lightning.__version__}")' 2>/dev/null); ${device:-no GPU}"
    [ $small = no ] || echo "as small as can be: these numbers say nothing"
    echo
    echo "| part | result | seconds |"
    echo "|---|---|---|"
} | tee "$table"

# part NAME SECONDS COMMAND...: run it within its limit and what is left of the eight minutes, and add its line.
part() {
    local name=$1 limit=$2 began=$SECONDS status result
    shift 2
    [ $((deadline - SECONDS)) -ge "$limit" ] || limit=$((deadline - SECONDS))
    if [ "$limit" -le 5 ]; then
        result="left out: no time"
    else
        timeout --kill-after=5 "$limit" "$@" > "$folder/$name.log" 2>&1 < /dev/null
        status=$?
        case $status in
            0) result=ran ;;
            124 | 137) result="ran out of its $limit s" ;;
            *) result="failed, exit code $status" ;;
        esac
    fi
    echo "| $name | $result | $((SECONDS - began)) |" | tee -a "$table"
}

tests=("$python" -m pytest -q -rs -p no:cacheprovider)
part recorded_steps 90 "${tests[@]}" tests/decoding/test_recorded_steps.py
part numbers 60 "${tests[@]}" tests/trust/test_numbers.py -k "GPU or gpu"
part seeding 30 "${tests[@]}" tests/test_seeding.py -k "GPU or gpu"
if [ $small = yes ]; then
    part synthesis 120 "$python" benchmarks/synthesis.py --quick
    part training 90 "$python" benchmarks/training.py --quick --contestants project
    part generation 90 "$python" benchmarks/generation.py --quick
else
    part synthesis 120 "$python" benchmarks/synthesis.py --device cuda --batches 128 256 --prompts 1024 --turns 2
    part training 90 "$python" benchmarks/training.py --device cuda --precision bf16-mixed
    part generation 150 "$python" benchmarks/generation.py --device cuda --precision bf16 --blocks 1024 --repeats 1
fi

{
    echo
    for log in "$folder"/*.log; do
        echo "### $(basename "$log" .log)"
        echo
        echo '```'
        grep -E "ratio|tokens/s|native|transformers|Trainer|modelcollapse|script|train.py|passed|failed|skipped|SKIPPED|Error" \
            "$log" | tail -n 20 | cut -c 1-160
        echo '```'
        echo
    done
} >> "$table"
echo "the table, with what each part printed: $table"
