#!/bin/sh
# The same few tasks on the processor, on a GPU, and on a GPU under torchrun: losses side by side.
#
#     sh tests/benchmarks/gpu_ranks.sh FOLDER [cpu]
set -eu
mkdir -p "$1"
out=$(mktemp -d "$(cd "$1" && pwd)/ranks.XXXXXX")  # new: what is in FOLDER stays
device=${2:-cuda}
cd "$(dirname "$0")"
export PYTHONPATH="$(cd ../.. && pwd)${PYTHONPATH:+:$PYTHONPATH}"
python -c "
from pathlib import Path
from made_photos import write_photos
write_photos(Path('$out/photos'), 20, 8, (96, 72))"
cat >"$out/recipe.toml" <<TOML
data = ["$out/photos"]
backbone = "test_convnext"
weights = "none"
image_size = 32
lite_h = 8
tasks = 6
tasks_per_step = 2
val_every = 3
val_tasks = 4
precision = "fp32"
[episodes]
way_max = 5
support_max = 40
TOML
train="litecli meta-train --config $out/recipe.toml --quiet"
# shellcheck disable=SC2086  # the words of $train are meant to be split
{
    python -m $train --device cpu --out "$out/processor" &
    python -m $train --device "$device" --out "$out/plain" &
    python -m torch.distributed.run --standalone --nproc-per-node 1 \
        -m $train --device "$device" --out "$out/torchrun" &
    wait
}
for run in processor plain torchrun; do
    printf '%-10s' "$run"
    python - "$out/$run/metrics.csv" <<'PYTHON'
import csv, sys

with open(sys.argv[1], newline="") as file:
    rows = list(csv.DictReader(file))
print(*(f"{float(row['loss']):.6f}" for row in rows if row["loss"]))
PYTHON
done
