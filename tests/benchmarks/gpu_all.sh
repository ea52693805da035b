#!/bin/sh
# Everything that needs a GPU, most important first, each part under its own limit:
#
#     sh tests/benchmarks/gpu_all.sh FOLDER [cuda|cpu] [PART ...]
#
# FOLDER takes a log of each part; the logs come on the screen last. All parts take six to eight
# minutes on an H100 (the tests two, engines and memory one each); named, only some are run. The
# parts "alone" and "engines" want mobilenetv2_100 in LITECLI_HOME. With "cpu" the same scripts run with small numbers and without a GPU, to see that
# they do. "rc 124" in a log: the part ran out of its time.
set -u
logs=$1
device=${2:-cuda}
[ $# -gt 2 ] && shift 2 && wanted=" $* " || wanted=""
here=$(cd "$(dirname "$0")/../.." && pwd)
cd "$here" || exit 1
mkdir -p "$logs"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
export LITECLI_HOME="${LITECLI_HOME:-$logs/home}"
bench=tests/benchmarks

part() { # NAME SECONDS COMMAND...
    name=$1 limit=$2
    shift 2
    case ${wanted:-" $name "} in *" $name "*) ;; *) return ;; esac
    began=$(date +%s)
    timeout -k 5 "$limit" "$@" >"$logs/$name.log" 2>&1
    echo "rc $?, $(($(date +%s) - began)) s" >>"$logs/$name.log"
    echo "$name: $(tail -n 1 "$logs/$name.log")"
}

if [ "$device" = cuda ]; then
    lite="" time="--support 1000 --repeats 3" photos=1000 runs=1 decoded=64 seconds=2
    models="mobilenetv2_100 models/pocket"
    ways="onnx torch_fp32_cuda torch_bf16_cuda" size="1600 1200"
else
    models=models/pocket
    lite="--backbone test_byobnet --size 32 --supports 40 100 --h-support 100 --step-sizes 32
        --step-support 100 --repeats 1"
    time="--backbone test_byobnet --size 32 --support 60 --repeats 1"
    photos=20 runs=1 decoded=2 seconds=0.1
    ways="onnx torch_fp32_cpu" size="400 300"
fi
on="--device $device"

# shellcheck disable=SC2086  # the words of these variables are meant to be split
{
    part alone 60 python $bench/engines.py $models --only alone --runs $runs --ways $ways
    part steps 100 python $bench/gpu_lite.py $lite $on --only steps
    part memory 80 python $bench/gpu_lite.py $lite $on --only memory
    part floor-fp32 40 python $bench/lite_time.py $time $on --learner protonets simple-cnaps
    part floor-bf16 80 python $bench/lite_time.py $time $on --bf16
    part floor-host 20 python $bench/lite_time.py $time $on --bf16 --from-host --learner protonets
    part torchrun 150 sh $bench/gpu_ranks.sh "$logs/runs" "$device" &  # times nothing
    part tests 150 env LITECLI_TEST_DEVICE="$device" python -m pytest -n 8 -W default \
        tests/test_cuda.py tests/test_cuda_training.py tests/test_engine.py \
        tests/test_engine_choice.py tests/test_gpu_decoding.py
    wait
    part engines 120 python $bench/engines.py $models --only whole --photos $photos --size $size \
        --runs $runs --ways $ways
    part decode 40 python $bench/gpu_decode.py $on --photos $decoded --seconds $seconds
}
for name in torchrun decode tests engines floor-host floor-bf16 floor-fp32 memory steps alone; do
    [ -f "$logs/$name.log" ] || continue
    printf '\n== %s\n' "$name"
    tail -n 40 "$logs/$name.log" | cut -c 1-160
done
