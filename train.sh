#!/usr/bin/env bash
# From patches, or slides with coarse annotations, to a trained segmenter. Edit the block below, or set the names in the
# environment:
#     DATASET_TYPE=camelyon16 ./train.sh
# Running it again goes on where it was interrupted. `python src/<stage>.py --help` lists every flag.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")"
source src/variables.sh
resolve_paths SAM_CHECKPOINT DATA_ROOT CHECKPOINT_ROOT LOG_DIR CORRECTIONS CORRECTION_SLIDES

DATASET_TYPE=${DATASET_TYPE:-demo}            # folder of dataset/: demo, camelyon16, camelyon17, or one of your own
METHOD=${METHOD:-ep_sam}                      # ep_sam, strong, weakmedsam; to compare with: unet, deeplab, sam_box, medsam_box (learn from
                                              # masks); enhanced_adl, adl, gradcam, gradcam++, eigencam (initial masks alone);
                                              # dws_mil, sa_mil, swin_mil (multiple-instance learning); wsss_tissue;
                                              # unet_pseudo (learns from the pseudo-labels of the run FROM)
METHOD_PRESET=${METHOD_PRESET:-default}       # constants of METHOD: default (this project), authors (their research scripts)
RUN=${RUN:-$(default_run)}                    # name of this run: its folder under checkpoints/; <dataset>[-<METHOD>]
FROM=${FROM:-}                                # for unet_pseudo: a finished run of ep_sam, whose last pseudo-labels it takes
SAM_MODEL_TYPE=${SAM_MODEL_TYPE:-}            # vit_b, vit_l, vit_h, vit_demo, vit_small; empty: the dataset's preset, else vit_b
SAM_CHECKPOINT=${SAM_CHECKPOINT:-}            # SAM's weights; empty: the known file, downloaded into checkpoints/ once
SEED=${SEED:-22}                              # seed of every random draw
DEVICE=${DEVICE:-auto}                        # auto, cpu, cuda
GPUS=${GPUS:-1}                               # processes that share the training: GPUs of this machine, or with DEVICE=cpu
                                              # processes; the result does not depend on how many (docs/performance.md)
DATA_ROOT=${DATA_ROOT:-}                      # folder that holds the datasets; empty: dataset/
CHECKPOINT_ROOT=${CHECKPOINT_ROOT:-}          # folder that holds SAM's weights and the runs; empty: checkpoints/
LOG_DIR=${LOG_DIR:-}                          # folder of the log; empty: this one
REPLACE=${REPLACE:-}                          # 1: replace what is finished with other options or data; else it stays
CORRECTIONS=${CORRECTIONS:-}                  # folder of corrections by a person (docs/correcting.md): the rounds are made again with
                                              # them, in a run of their own, <RUN>-corrected
CORRECTION_SLIDES=${CORRECTION_SLIDES:-}      # folder of corrected slides or images that the dataset does not hold, to be trained with, too
TENSORBOARD=${TENSORBOARD:-}                  # 1: --tensorboard for every training stage (pip install tensorboard)

DEMO_FLAGS=${DEMO_FLAGS:-}                    # make_demo_slides.py, for DATASET_TYPE=demo, such as: --seed 1 --restart
PATCH_FLAGS=${PATCH_FLAGS:-}                  # extract_patches.py, such as: --stride 128
CLASSIFIER_FLAGS=${CLASSIFIER_FLAGS:-}        # train_classifier.py, such as: --pretrained none --epoch 30
MASK_FLAGS=${MASK_FLAGS:-}                    # generate_initial_masks.py, such as: --quantile 0.2 --rotations 1
DECODER_FLAGS=${DECODER_FLAGS:-}              # finetune_decoder.py, such as: --embedding_transforms 8
RETRAIN_FLAGS=${RETRAIN_FLAGS:-$DECODER_FLAGS} # retrain_decoder.py, such as: --n_iter 5 --pl_mode accumulate
SEGMENTER_FLAGS=${SEGMENTER_FLAGS:-}          # train_segmenter.py, such as: --pretrained none --encoder resnet18
BOX_FLAGS=${BOX_FLAGS:-}                      # train_box_decoder.py, such as: --embedding_transforms 8
EVALUATE_FLAGS=${EVALUATE_FLAGS:-}            # evaluate.py

require_gpus
require_method
# MedSAM is a ViT-B, whatever SAM there is.
[[ $METHOD != medsam_box ]] || SAM_MODEL_TYPE=

# Before the demo's slides are drawn, which takes a minute.
if [[ $METHOD == unet_pseudo && -z $FROM ]]; then
    echo "error: METHOD unet_pseudo: makes no pseudo-labels itself; name a finished run of METHOD=ep_sam, such as FROM=$DATASET_TYPE" >&2
    exit 1
elif [[ $METHOD != unet_pseudo && -n $FROM ]]; then
    echo "error: FROM $FROM: goes with METHOD=unet_pseudo alone; leave it out" >&2
    exit 1
fi

corrections=()
if [[ -n $CORRECTIONS ]]; then
    if [[ $METHOD != ep_sam && $METHOD != strong ]]; then
        echo "error: METHOD $METHOD: has no rounds, which CORRECTIONS are for; leave one of them out" >&2
        exit 1
    fi
    source_run=$RUN
    RUN=$RUN-corrected
    corrections=("--corrections=$CORRECTIONS" ${CORRECTION_SLIDES:+"--correction_slides=$CORRECTION_SLIDES"})
elif [[ -n $CORRECTION_SLIDES ]]; then
    echo "error: CORRECTION_SLIDES $CORRECTION_SLIDES: goes with CORRECTIONS, the folder of what was drawn on them; give both" >&2
    exit 1
fi

if [[ -n $TENSORBOARD ]]; then
    for flags in CLASSIFIER_FLAGS MASK_FLAGS DECODER_FLAGS RETRAIN_FLAGS SEGMENTER_FLAGS BOX_FLAGS EVALUATE_FLAGS; do
        printf -v "$flags" '%s --tensorboard' "${!flags}"
    done
fi

report_run() { "$PYTHON" src/report.py "${data[@]}" "${run_folder[@]}"; }

run_all() {
    source src/environment.sh
    # Names may hold spaces; the stages' own flags are separate words, hence no quotes around those.
    data=("--dataset_type=$DATASET_TYPE" ${DATA_ROOT:+"--dataset_root=$DATA_ROOT"})
    [[ $REPLACE == 1 ]] && data+=(--replace)
    run_folder=("--run=$RUN" ${CHECKPOINT_ROOT:+"--checkpoint_root=$CHECKPOINT_ROOT"})
    # Every stage knows the flags and constants of its method (src/epsam/config/method_presets.py).
    local run=("${data[@]}" "${run_folder[@]}" "--device=$DEVICE" "--recipe=$METHOD" "--method_preset=$METHOD_PRESET")
    local seed=("--seed=$SEED") sam=("--seed=$SEED")
    [[ -n $SAM_MODEL_TYPE ]] && sam+=("--sam_model_type=$SAM_MODEL_TYPE")
    [[ -n $SAM_CHECKPOINT ]] && sam+=("--sam_checkpoint=$SAM_CHECKPOINT")
    # The SAM behind the maps, for those methods that have one.
    local maps=("${run[@]}" ${SAM_MODEL_TYPE:+"--map_sam=$SAM_MODEL_TYPE"} ${SAM_CHECKPOINT:+"--map_sam_checkpoint=$SAM_CHECKPOINT"})

    if [[ $DATASET_TYPE == demo ]]; then
        stage src/make_demo_slides.py ${DATA_ROOT:+"--output_dir=$DATA_ROOT/demo"} $DEMO_FLAGS  # synthetic slides
    fi
    # Checks in seconds what would stop the run later. It takes each stage's flags as one word.
    stage src/check.py "${run[@]}" "${sam[@]}" ${FROM:+"--from_run=$FROM"} --patch_flags="$PATCH_FLAGS" \
        --classifier_flags="$CLASSIFIER_FLAGS" --mask_flags="$MASK_FLAGS" --decoder_flags="$DECODER_FLAGS" \
        --retrain_flags="$RETRAIN_FLAGS" --segmenter_flags="$SEGMENTER_FLAGS" --box_flags="$BOX_FLAGS" \
        --evaluate_flags="$EVALUATE_FLAGS"
    stage src/extract_patches.py "${data[@]}" "${seed[@]}" $PATCH_FLAGS      # slides → patches
    # Where a stage fails is where its run's report is needed; the stage's own error stays the last line.
    on_failure=report_run
    case $METHOD in
        ep_sam | strong)
            # Everything up to the preliminary decoder is reused; the stages then say so.
            [[ -z $CORRECTIONS ]] || stage src/reuse_run.py "--dataset_type=$DATASET_TYPE" "${run_folder[@]}" "--source_run=$source_run"
            shared_stage src/train_classifier.py "${run[@]}" "${seed[@]}" $CLASSIFIER_FLAGS  # patches → classifier
            shared_stage src/generate_initial_masks.py "${maps[@]}" $MASK_FLAGS           # classifier → initial masks
            shared_stage src/finetune_decoder.py "${run[@]}" "${sam[@]}" $DECODER_FLAGS   # initial masks → preliminary decoder
            shared_stage src/retrain_decoder.py "${run[@]}" "${sam[@]}" $RETRAIN_FLAGS "${corrections[@]}"  # pseudo-labels → final decoder
            ;;
        enhanced_adl | adl | gradcam | gradcam++ | eigencam | dws_mil | sa_mil | swin_mil)
            shared_stage src/train_classifier.py "${run[@]}" "${seed[@]}" $CLASSIFIER_FLAGS
            shared_stage src/generate_initial_masks.py "${maps[@]}" $MASK_FLAGS
            ;;
        weakmedsam)
            shared_stage src/train_classifier.py "${maps[@]}" "${seed[@]}" $CLASSIFIER_FLAGS  # sub-classes → SAM's encoder
            shared_stage src/generate_initial_masks.py "${maps[@]}" $MASK_FLAGS           # its maps along SAM's masks
            shared_stage src/train_segmenter.py "${run[@]}" "${seed[@]}" $SEGMENTER_FLAGS        # initial masks → segmenter
            ;;
        wsss_tissue)
            stage src/train_classifier.py "${run[@]}" "${seed[@]}" $CLASSIFIER_FLAGS
            stage src/generate_initial_masks.py "${maps[@]}" $MASK_FLAGS                  # classifier → masks of three layers
            stage src/train_segmenter.py "${run[@]}" "${seed[@]}" $SEGMENTER_FLAGS        # these masks → segmenter
            ;;
        unet | deeplab)
            shared_stage src/train_segmenter.py "${run[@]}" "${seed[@]}" $SEGMENTER_FLAGS        # ground truth → segmenter
            ;;
        unet_pseudo)
            # FROM's pseudo-labels → segmenter
            shared_stage src/train_segmenter.py "${run[@]}" "${seed[@]}" ${FROM:+"--from_run=$FROM"} $SEGMENTER_FLAGS
            ;;
        sam_box | medsam_box)
            shared_stage src/train_box_decoder.py "${run[@]}" "${sam[@]}" $BOX_FLAGS      # ground truth → SAM's decoder
            ;;
    esac
    shared_stage src/evaluate.py "${run[@]}" "${sam[@]}" $EVALUATE_FLAGS   # scores, panels, curves
    stage src/report.py "${data[@]}" "${run_folder[@]}"  # one page of it all
}

source src/run_stages.sh
start_log "${LOG_DIR:+$LOG_DIR/}logging_${RUN//\//_}.txt"
warn_of_misspelt_variables train.sh
echo "dataset $DATASET_TYPE, method $METHOD, run $RUN, SAM ${SAM_MODEL_TYPE:-of the preset}, device $DEVICE"
run_all
echo "A script alone, such as a comparison of runs: ${PYTHON#"$PWD/"} src/compare.py $RUN OTHER_RUN (--help: its flags)"
