#!/usr/bin/env bash
# Look at results in a browser on this machine: slides, probability with a threshold that moves, masks, ground truth.
#     ./view.sh                              the results in infer_output/$RUN
#     ./view.sh my/results --port 8765       an output folder of infer.sh, and flags of src/view.py
#     ./view.sh checkpoints/demo             the patches of a run
# Written are corrections alone (corrections/, or --corrections), and the page that --export names a folder for. The page is for this machine alone; the line with ssh brings it to another one. Ctrl-C ends it.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")"
root=$PWD
source src/variables.sh

DATASET_TYPE=${DATASET_TYPE:-demo}
RUN=${RUN:-$DATASET_TYPE}                                 # whose results are shown if no folder is named

warn_of_misspelt_variables view.sh
# The arguments are those of the viewer.
source src/environment.sh requirements.txt
[[ $# -gt 0 && $1 != -* ]] || set -- "$root/infer_output/$RUN" "$@"
# Relative paths are those of the folder that the user stands in.
cd "$caller"
exec "$PYTHON" "$root/src/view.py" "$@"
