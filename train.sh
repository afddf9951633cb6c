#!/usr/bin/env bash
# From patches, or slides with coarse annotations, to a trained segmenter. Edit the block below, or set the names in the
# environment:
#     DATASET_TYPE=camelyon16 ./train.sh
# Running it again goes on where it was interrupted. `python src/<stage>.py --help` lists every flag.
set -euo pipefail
cd "$(dirname "$0")"

DATASET_TYPE=${DATASET_TYPE:-demo}            # folder of dataset/: demo, camelyon16, camelyon17, or one of your own
RUN=${RUN:-$DATASET_TYPE}                     # name of this run: its folder under checkpoints/
SAM_MODEL_TYPE=${SAM_MODEL_TYPE:-}            # vit_b, vit_l, vit_h, vit_demo; empty: the dataset's preset, else vit_b
SAM_CHECKPOINT=${SAM_CHECKPOINT:-}            # SAM's weights; empty: the known file, downloaded into checkpoints/ once
SEED=${SEED:-22}                              # seed of every random draw
DEVICE=${DEVICE:-auto}                        # auto, cpu, cuda
TENSORBOARD=${TENSORBOARD:-}                  # 1: --tensorboard for every training stage (pip install tensorboard)

DEMO_FLAGS=${DEMO_FLAGS:-}                    # make_demo_slides.py, for DATASET_TYPE=demo, such as: --seed 1 --restart
PATCH_FLAGS=${PATCH_FLAGS:-}                  # extract_patches.py, such as: --stride 128
CLASSIFIER_FLAGS=${CLASSIFIER_FLAGS:-}        # train_classifier.py, such as: --pretrained none --epoch 30
MASK_FLAGS=${MASK_FLAGS:-}                    # generate_initial_masks.py, such as: --quantile 0.2 --rotations 1
DECODER_FLAGS=${DECODER_FLAGS:-}              # finetune_decoder.py, such as: --embedding_transforms 8
RETRAIN_FLAGS=${RETRAIN_FLAGS:-$DECODER_FLAGS} # retrain_decoder.py, such as: --n_iter 5 --pl_mode accumulate
EVALUATE_FLAGS=${EVALUATE_FLAGS:-}            # evaluate.py

if [[ -n $TENSORBOARD ]]; then
    for flags in CLASSIFIER_FLAGS MASK_FLAGS DECODER_FLAGS RETRAIN_FLAGS EVALUATE_FLAGS; do
        printf -v "$flags" '%s --tensorboard' "${!flags}"
    done
fi

report_run() { "$PYTHON" src/report.py "--dataset_type=$DATASET_TYPE" "--run=$RUN"; }

run_all() {
    source src/environment.sh
    # Names may hold spaces; the stages' own flags are separate words, hence no quotes around those.
    local data=("--dataset_type=$DATASET_TYPE") seed=("--seed=$SEED")
    local run=("${data[@]}" "--run=$RUN" "--device=$DEVICE") sam=("${seed[@]}")
    [[ -n $SAM_MODEL_TYPE ]] && sam+=("--sam_model_type=$SAM_MODEL_TYPE")
    [[ -n $SAM_CHECKPOINT ]] && sam+=("--sam_checkpoint=$SAM_CHECKPOINT")

    if [[ $DATASET_TYPE == demo ]]; then
        stage src/make_demo_slides.py $DEMO_FLAGS                    # synthetic slides
    fi
    # Checks in seconds what would stop the run later. It takes each stage's flags as one word.
    stage src/check.py "${run[@]}" "${sam[@]}" --patch_flags="$PATCH_FLAGS" --classifier_flags="$CLASSIFIER_FLAGS" \
        --mask_flags="$MASK_FLAGS" --decoder_flags="$DECODER_FLAGS" --retrain_flags="$RETRAIN_FLAGS" \
        --evaluate_flags="$EVALUATE_FLAGS"
    stage src/extract_patches.py "${data[@]}" "${seed[@]}" $PATCH_FLAGS      # slides → patches
    # Where a stage fails is where its run's report is needed; the stage's own error stays the last line.
    on_failure=report_run
    stage src/train_classifier.py "${run[@]}" "${seed[@]}" $CLASSIFIER_FLAGS  # patches → classifier
    stage src/generate_initial_masks.py "${run[@]}" $MASK_FLAGS          # classifier → initial masks
    stage src/finetune_decoder.py "${run[@]}" "${sam[@]}" $DECODER_FLAGS   # initial masks → preliminary decoder
    stage src/retrain_decoder.py "${run[@]}" "${sam[@]}" $RETRAIN_FLAGS    # pseudo-labels → final decoder
    stage src/evaluate.py "${run[@]}" "${sam[@]}" $EVALUATE_FLAGS          # scores, panels, curves
    stage src/report.py "${data[@]}" "--run=$RUN"                      # one page of it all
}

source src/run_stages.sh
start_log "logging_${RUN//\//_}.txt"
run_all
