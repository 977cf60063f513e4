#!/usr/bin/env bash
# Trains the shipped model `small`, seventh version, from the backbone of Google's MoveNet MultiPose Lightning.
#
#   COCO=DIR BACKBONE=movenet_multipose_mobilenet_v2_1.5_notop.weights.h5 LABELS=person_keypoints_train2017.json.gz \
#       bash docs/recipes/small.sh MODEL_DIR
#
# Float32, two cores of an AMD EPYC with AVX2 alone, beside other work: 55, 76 and 69 minutes for stage 1,
# 31, 95 and 97 for stage 2.
# The first run of stage 1 began with --epochs 7, was interrupted after epoch 3 and resumed with --epochs 5. The third
# was interrupted after epoch 1, and began anew from its weights with 7 epochs at 8.7e-4. The PRN is that of the second
# version, trained with the same command in mixed_bfloat16. When the second runs were made, --seed also chose the
# photographs that are held out.
# Result on coco-mini val: see mpn/pretrained/small/README.md.
set -euo pipefail
model=$1
shared=(--coco "$COCO" --hold-out 0.04 --cache-images --colour 0.4 --schedule cosine --average 0.99 --batch-size 8)
stage_1=("${shared[@]}" --frozen-up-to C5 --framing image --image-size 416 --inference-size 384 544
    --scale 0.7 1.6 --shift 0.1 --rotation 15 --mirror 0.5 --foreground 9)

# The subnets on the frozen backbone, on whole photographs.
python train_keypoints.py "${stage_1[@]}" --model "$model-first" --backbone mobilenet_v2 --width 1.5 \
    --backbone-weights "$BACKBONE" --batch-normalization folded --channels 96 32 64 64 \
    --learning-rate 1e-3 --steps-per-epoch 200 --epochs 5
python train_person.py "${shared[@]}" --model "$model-first" --image-size 320 448 --scale 0.7 1.3 \
    --learning-rate 1e-3 --steps-per-epoch 150 --epochs 5
# The keypoint subnet twice more, each time from the weights of the run before, and the mean of these two.
python train_keypoints.py "${stage_1[@]}" --model "$model-second" --initial-model "$model-first" \
    --batch-normalization frozen --learning-rate 9e-4 --steps-per-epoch 150 --epochs 8 --seed 4
python train_keypoints.py "${stage_1[@]}" --model "$model-third" --initial-model "$model-second" \
    --batch-normalization frozen --learning-rate 9e-4 --steps-per-epoch 150 --epochs 8 --seed 11
python docs/recipes/average.py "$model-second" "$model-third" "$model"
# The person subnet twice more, on larger images; epoch 4 of the first of these runs has the best loss.
python train_person.py "${shared[@]}" --model "$model-second" --initial-model "$model-first" --image-size 320 448 \
    --scale 0.8 1.45 --learning-rate 8e-4 --steps-per-epoch 300 --epochs 5 --seed 1
python train_person.py "${shared[@]}" --model "$model" --initial-model "$model-second" --image-size 320 448 \
    --scale 0.75 1.65 --learning-rate 7e-4 --steps-per-epoch 200 --epochs 6 --average 0.995 --seed 21
python train_prn.py --annotations "$LABELS" --model "$model" --design compact --imperfections 0.25 0.1 0.1 0.3 \
    --steps-per-epoch 250 --epochs 2
python -m mpn.export "$model" "$model-exported"
