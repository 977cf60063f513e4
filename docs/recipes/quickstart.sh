#!/usr/bin/env bash
# The whole system once, small and without any download: about 100 seconds of processor time.
#
#   bash docs/recipes/quickstart.sh [FOLDER]
#
# Writes a synthetic set in COCO layout, trains the three stages on two pictures until a light network knows
# them by heart, evaluates on those two with the official metrics and draws their poses. This shows that every part
# works, not what the full model can do on pictures that it has never seen.
set -euo pipefail
folder=${1:-quickstart}
if [ -e "$folder" ] && [ -n "$(ls -A "$folder")" ]; then
    echo "error: $folder is not empty: remove it, or name another folder" >&2
    exit 1
fi
shared=(--coco "$folder/coco" --model "$folder/model" --hold-out 0 --schedule cosine)
set -x

python -m mpn.synthetic "$folder/coco" --train 2 --val 2 --test 2 --image-size 160 120 --seed 1
python train_keypoints.py "${shared[@]}" --backbone mobilenet_v2 --width 0.35 --backbone-weights none \
    --channels 32 16 48 48 --batch-normalization train --framing image --rotation 0 --scale 1 1 --mirror 0 \
    --image-size 160 --inference-size 160 160 --learning-rate 3e-3 --epochs 2 --steps-per-epoch 120 --batch-size 2
python train_person.py "${shared[@]}" --image-size 160 160 --learning-rate 2e-3 --epochs 2 --steps-per-epoch 100 \
    --batch-size 2 --mirror 0
python train_prn.py "${shared[@]}" --design compact --epochs 2 --steps-per-epoch 40 --batch-size 16
python evaluate.py --coco "$folder/coco" --model "$folder/model" --split train --output "$folder/results" \
    --metrics "$folder/results/metrics.json"
python demo.py "$folder/coco/train2017" --model "$folder/model" --output "$folder/results"
