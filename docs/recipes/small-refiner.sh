#!/usr/bin/env bash
# Trains the shipped refinement network `small-refiner`, seventh version, from the backbone of Google's MoveNet Thunder.
#
#   COCO=DIR BACKBONE=movenet_thunder_mobilenet_v2_1.75_notop.weights.h5 bash docs/recipes/small-refiner.sh MODEL_DIR
#
# Float32, two cores of an AMD EPYC with AVX2 alone, beside other work: 25 minutes, then 20, 44, 40 and 82.
# When the second and third run were made, --seed also chose the photographs that are held out.
# Result on coco-mini val: see mpn/pretrained/small-refiner/README.md.
set -euo pipefail
model=$1
shared=(--refiner 0.75 --coco "$COCO" --hold-out 0.04 --cache-images --frozen-up-to C5 --image-size 256 --shift 0.05
    --scale 0.8 1.25 --rotation 20 --mirror 0.5 --colour 0.4 --foreground 9 --batch-size 16 --schedule cosine --average 0.99)
python train_keypoints.py "${shared[@]}" --model "$model-first" --backbone mobilenet_v2 --width 1.75 \
    --backbone-weights "$BACKBONE" --batch-normalization folded --channels 64 24 256 256 --steps-per-epoch 150 \
    --epochs 5 --learning-rate 1e-3
# Three times more, each time from the weights of the run before, and once more from the mean of the last two.
python train_keypoints.py "${shared[@]}" --model "$model-second" --initial-model "$model-first" \
    --batch-normalization frozen --steps-per-epoch 100 --epochs 4 --learning-rate 5e-4 --seed 1
python train_keypoints.py "${shared[@]}" --model "$model-third" --initial-model "$model-second" \
    --batch-normalization frozen --steps-per-epoch 140 --epochs 8 --learning-rate 9e-4 --seed 5
python train_keypoints.py "${shared[@]}" --model "$model-fourth" --initial-model "$model-third" \
    --batch-normalization frozen --steps-per-epoch 140 --epochs 8 --learning-rate 8e-4 --seed 12
python docs/recipes/average.py "$model-third" "$model-fourth" "$model-mean"
python train_keypoints.py "${shared[@]}" --model "$model" --initial-model "$model-mean" \
    --batch-normalization frozen --steps-per-epoch 140 --epochs 16 --learning-rate 8e-4 --seed 31
python -m mpn.export "$model" "$model-exported"
