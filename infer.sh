#!/usr/bin/env bash
# Masks, overlays, a report and, where ground truth exists, metrics for slides or a folder of images, with a trained run.
#     TEST_DATASET_DIR=my/images RUN=demo ./infer.sh
# The folder holds images, or image/ and, with ground truth, mask/ with files of the same names; or slides, or images/ and
# annotations/ as in a dataset. A single slide may stand for the folder. Finished slides are not segmented again.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")"
source src/variables.sh
resolve_paths TEST_DATASET_DIR OUTPUT_DIR RESNET_CHECKPOINT SAM_DECODER_CHECKPOINT SAM_CHECKPOINT \
    DATA_ROOT CHECKPOINT_ROOT LOG_DIR

DATASET_TYPE=${DATASET_TYPE:-demo}                        # whose preset to use
METHOD=${METHOD:-ep_sam}                                  # as in train.sh
RUN=${RUN:-$(default_run)}                                # the run whose checkpoints are loaded
DATA_ROOT=${DATA_ROOT:-}                                  # folder that holds the datasets; empty: dataset/
CHECKPOINT_ROOT=${CHECKPOINT_ROOT:-}                      # folder that holds SAM's weights and the runs; empty: checkpoints/
LOG_DIR=${LOG_DIR:-}                                      # folder of the log; empty: this one
TEST_DATASET_DIR=${TEST_DATASET_DIR:-${DATA_ROOT:-dataset}/$DATASET_TYPE/test}
RESNET_CHECKPOINT=${RESNET_CHECKPOINT:-}                  # empty: the run's classifier
SAM_DECODER_CHECKPOINT=${SAM_DECODER_CHECKPOINT:-}        # empty: the run's last decoder
SAM_MODEL_TYPE=${SAM_MODEL_TYPE:-}                        # empty: that of the decoder
SAM_CHECKPOINT=${SAM_CHECKPOINT:-}                        # empty: SAM's own file name in checkpoints/
OUTPUT_DIR=${OUTPUT_DIR:-infer_output/$RUN}
SEED=${SEED:-22}
DEVICE=${DEVICE:-auto}
GPUS=${GPUS:-1}                                           # processes that share the slides: GPUs of this machine, or with DEVICE=cpu processes
INFER_FLAGS=${INFER_FLAGS:-}                              # infer.py, such as: --no-classifier_gate --as images

require_gpus
require_method

run_all() {
    source src/environment.sh
    shared_stage src/infer.py "--dataset_type=$DATASET_TYPE" "--run=$RUN" "--recipe=$METHOD" "--seed=$SEED" "--device=$DEVICE" \
        "--test_dataset_dir=$TEST_DATASET_DIR" "--output_dir=$OUTPUT_DIR" \
        ${DATA_ROOT:+"--dataset_root=$DATA_ROOT"} ${CHECKPOINT_ROOT:+"--checkpoint_root=$CHECKPOINT_ROOT"} \
        ${RESNET_CHECKPOINT:+"--resnet_checkpoint=$RESNET_CHECKPOINT"} \
        ${SAM_DECODER_CHECKPOINT:+"--sam_decoder_checkpoint=$SAM_DECODER_CHECKPOINT"} \
        ${SAM_MODEL_TYPE:+"--sam_model_type=$SAM_MODEL_TYPE"} \
        ${SAM_CHECKPOINT:+"--sam_checkpoint=$SAM_CHECKPOINT"} $INFER_FLAGS
}

source src/run_stages.sh
start_log "${LOG_DIR:+$LOG_DIR/}logging_inference.txt"
warn_of_misspelt_variables infer.sh
echo "$TEST_DATASET_DIR, run $RUN, results in $OUTPUT_DIR, device $DEVICE"
run_all
