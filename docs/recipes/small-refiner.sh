#!/usr/bin/env bash
# Trains the shipped refinement network `small-refiner`, third version, from the backbone of Google's MoveNet Thunder.
#
#   COCO=DIR BACKBONE=movenet_thunder_mobilenet_v2_1.75_notop.weights.h5 bash docs/recipes/small-refiner.sh MODEL_DIR
#
# Seed 0, float32, two cores of an AMD EPYC with AVX2 alone, beside other work: 25 minutes.
# Result on coco-mini val: see mpn/pretrained/small-refiner/README.md.
set -euo pipefail
model=$1
python train_keypoints.py --refiner 0.75 --coco "$COCO" --model "$model" --hold-out 0.04 --cache-images \
    --backbone mobilenet_v2 --width 1.75 --backbone-weights "$BACKBONE" --batch-normalization folded \
    --frozen-up-to C5 --keypoint-channels 64 24 --image-size 256 --shift 0.05 --scale 0.8 1.25 --rotation 20 \
    --mirror 0.5 --colour 0.4 --foreground 9 --batch-size 16 --steps-per-epoch 150 --epochs 5 --learning-rate 1e-3 \
    --schedule cosine --average 0.99
python -m mpn.export "$model" "$model-exported"
