#!/usr/bin/env bash
# The paper's ablations in one go: every flag set of the list below over every seed, then Tables 1 to 6.
#     ./ablate.sh                                         the whole list on the demo
#     ONLY="paper,mask_random" SEEDS=22 ./ablate.sh       some rows, one seed
#     ONLY=table_2 ./ablate.sh                            all methods beside each other
# Running it again goes on after an interruption and runs the rows that were added to the list. What rows have in
# common (embeddings, classifiers, CAMs, masks, decoders) is computed once and reused, also from finished rows that ONLY
# does not name.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")"
source src/variables.sh
resolve_paths SAM_CHECKPOINT DATA_ROOT CHECKPOINT_ROOT LOG_DIR

DATASET_TYPE=${DATASET_TYPE:-demo}            # folder of dataset/
NAME=${NAME:-ablation-$DATASET_TYPE}          # folder under checkpoints/ that gets the runs and tables/
SEEDS=${SEEDS:-22,23,24}                      # seeds of training, with commas; the patches are the same for all
ONLY=${ONLY:-}                                # names of rows, or table_2 … table_6, with commas; empty: all of them
SAM_MODEL_TYPE=${SAM_MODEL_TYPE:-}            # as in train.sh
SAM_CHECKPOINT=${SAM_CHECKPOINT:-}            # as in train.sh
DATA_ROOT=${DATA_ROOT:-}                      # as in train.sh
CHECKPOINT_ROOT=${CHECKPOINT_ROOT:-}          # as in train.sh
LOG_DIR=${LOG_DIR:-}                          # as in train.sh
DEVICE=${DEVICE:-auto}                        # auto, cpu, cuda
REPLACE=${REPLACE:-}                          # 1: replace runs that are finished with other flags or patches

DEMO_FLAGS=${DEMO_FLAGS:-}                    # flags of all rows, as in train.sh; a row's own flags follow them
PATCH_FLAGS=${PATCH_FLAGS:-}
CLASSIFIER_FLAGS=${CLASSIFIER_FLAGS:-}
MASK_FLAGS=${MASK_FLAGS:-}
DECODER_FLAGS=${DECODER_FLAGS:-}
RETRAIN_FLAGS=${RETRAIN_FLAGS:-$DECODER_FLAGS}
SEGMENTER_FLAGS=${SEGMENTER_FLAGS:-}
BOX_FLAGS=${BOX_FLAGS:-}
EVALUATE_FLAGS=${EVALUATE_FLAGS:-}

# One line each: a name, the flags that it adds to the stages, and UNTIL=masks or UNTIL=preliminary if it ends early.
# RETRAIN_FLAGS are DECODER_FLAGS unless given. EVALUATE_FLAGS change how it is scored. METHOD is that of train.sh; FROM is the row whose pseudo-labels it takes.
# Add lines of your own: they are printed in a table of their own.
ROWS=${ROWS:-'
paper
# Table 2: each CAM with the quantile and kernel that are best on validation
gradcam        UNTIL=masks CLASSIFIER_FLAGS="--cam gradcam" MASK_FLAGS="--cam gradcam --grid_search"
gradcam++      UNTIL=masks CLASSIFIER_FLAGS="--cam gradcam" MASK_FLAGS="--cam gradcam++ --grid_search"
eigencam       UNTIL=masks CLASSIFIER_FLAGS="--cam gradcam" MASK_FLAGS="--cam eigencam --grid_search"
adl            UNTIL=masks CLASSIFIER_FLAGS="--cam adl" MASK_FLAGS="--cam adl --grid_search"
enhanced_adl   UNTIL=masks MASK_FLAGS="--grid_search"
# Table 2: the other methods
dws_mil        METHOD=dws_mil
sa_mil         METHOD=sa_mil
swin_mil       METHOD=swin_mil
wsss_tissue    METHOD=wsss_tissue
weakmedsam     METHOD=weakmedsam
unet_pseudo    METHOD=unet_pseudo FROM=paper
unet           METHOD=unet
deeplab        METHOD=deeplab
sam_box        METHOD=sam_box
medsam_box     METHOD=medsam_box
# Table 3
adl_ours       UNTIL=masks CLASSIFIER_FLAGS="--cam adl" MASK_FLAGS="--cam adl"
raw            UNTIL=masks MASK_FLAGS="--rotations 1 --postprocess none"
crf            UNTIL=masks MASK_FLAGS="--rotations 1 --postprocess crf"
crf_authors    UNTIL=masks MASK_FLAGS="--rotations 1 --postprocess crf --crf authors"
# Table 4
truth_random   DECODER_FLAGS="--prompt ground_truth_random" RETRAIN_FLAGS="--prompt ground_truth_random --n_iter 1"
image_random   DECODER_FLAGS="--prompt image_random" RETRAIN_FLAGS="--prompt image_random --n_iter 1"
mask_random    DECODER_FLAGS="--prompt mask_random" RETRAIN_FLAGS="--prompt mask_random --n_iter 1"
# Not in the paper
one_view       UNTIL=masks MASK_FLAGS="--rotations 1"
warm_up        UNTIL=masks CLASSIFIER_FLAGS="--warm_up 2"
stain_jitter   UNTIL=masks CLASSIFIER_FLAGS="--stain_jitter 0.1"
balanced       UNTIL=masks CLASSIFIER_FLAGS="--balance_classes"
adl_begin_1    UNTIL=masks CLASSIFIER_FLAGS="--adl_begin 1"
ema_0          UNTIL=masks CLASSIFIER_FLAGS="--ema 0"
input_320      UNTIL=masks CLASSIFIER_FLAGS="--input_size 320"
quantile_1     UNTIL=masks MASK_FLAGS="--quantile 0.1"
quantile_3     UNTIL=masks MASK_FLAGS="--quantile 0.3"
full_windows   UNTIL=masks MASK_FLAGS="--full_windows 0.99"
evp_added      UNTIL=masks CLASSIFIER_FLAGS="--evp_fuse add"
entropy        UNTIL=preliminary DECODER_FLAGS="--pepm_weight entropy"
box            UNTIL=preliminary DECODER_FLAGS="--prompt box --train_prompt same"
negatives      UNTIL=preliminary DECODER_FLAGS="--n_negative 10"
train_pepm     UNTIL=preliminary DECODER_FLAGS="--train_prompt pepm"
last_epoch     UNTIL=preliminary DECODER_FLAGS="--select_on last"
label_free     UNTIL=preliminary DECODER_FLAGS="--select_on pseudo"
accumulate     RETRAIN_FLAGS="--pl_mode accumulate"
# Beyond the paper (docs/beyond_the_paper.md): each idea alone, then what helped on several datasets
ensemble       UNTIL=preliminary DECODER_FLAGS="--n_sample 4 --n_transform 2"
train_same     UNTIL=preliminary DECODER_FLAGS="--n_negative 10 --train_prompt same"
regions        UNTIL=preliminary DECODER_FLAGS="--n_region 8 --prompt box_pepm --n_point 5 --n_negative 2 --train_prompt same"
mask_prompt    UNTIL=preliminary DECODER_FLAGS="--mask_prompt --train_prompt same"
normal         UNTIL=preliminary DECODER_FLAGS="--normal_patches 0.2"
soft           DECODER_FLAGS="--n_sample 4 --n_transform 2 --soft_targets" RETRAIN_FLAGS="--n_sample 4 --n_transform 2 --soft_targets --n_iter 1"
strong         DECODER_FLAGS="--method strong"
stain          MASK_FLAGS="--refine stain"
stain_li       MASK_FLAGS="--refine stain_texture --postprocess li"
fill_holes     MASK_FLAGS="--fill_holes" DECODER_FLAGS="--fill_decoder_holes"
# The two parts of WeakMedSAM inside of EP-SAM, beside the row paper
sce            CLASSIFIER_FLAGS="--subclasses 8"
pam            MASK_FLAGS="--refine pam"
sce_pam        CLASSIFIER_FLAGS="--subclasses 8" MASK_FLAGS="--refine pam"
'}

# ablate.py splits these flags into words itself, so their values need quotes of their own.
quoted() { printf "'%s'" "$(sed "s/'/'\"'\"'/g" <<< "$1")"; }

run_all() {
    source src/environment.sh
    # Names may hold spaces; the stages' own flags are separate words, hence no quotes around those.
    local data=("--dataset_type=$DATASET_TYPE" ${DATA_ROOT:+"--dataset_root=$DATA_ROOT"})
    if [[ $DATASET_TYPE == demo ]]; then
        stage src/make_demo_slides.py ${DATA_ROOT:+"--output_dir=$DATA_ROOT/demo"} $DEMO_FLAGS
    fi
    [[ $REPLACE == 1 ]] && data+=(--replace)
    stage src/extract_patches.py "${data[@]}" $PATCH_FLAGS
    stage src/ablate.py "${data[@]}" ${CHECKPOINT_ROOT:+"--checkpoint_root=$CHECKPOINT_ROOT"} \
        "--name=$NAME" "--seeds=$SEEDS" "--only=$ONLY" "--rows=$ROWS" \
        --common_flags="--device $DEVICE" \
        --sam_flags="${SAM_MODEL_TYPE:+--sam_model_type=$(quoted "$SAM_MODEL_TYPE")} ${SAM_CHECKPOINT:+--sam_checkpoint=$(quoted "$SAM_CHECKPOINT")}" \
        --classifier_flags="$CLASSIFIER_FLAGS" --mask_flags="$MASK_FLAGS" --decoder_flags="$DECODER_FLAGS" \
        --retrain_flags="$RETRAIN_FLAGS" --segmenter_flags="$SEGMENTER_FLAGS" --box_flags="$BOX_FLAGS" \
        --evaluate_flags="$EVALUATE_FLAGS"
}

source src/run_stages.sh
start_log "${LOG_DIR:+$LOG_DIR/}logging_${NAME//\//_}.txt"
warn_of_misspelt_variables ablate.sh
echo "dataset $DATASET_TYPE, runs in $NAME, SAM ${SAM_MODEL_TYPE:-of the preset}, device $DEVICE"
run_all
