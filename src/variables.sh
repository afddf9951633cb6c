# Sourced by train.sh, infer.sh and ablate.sh: what their variables mean, before any stage runs.

# Relative paths in the variables of these names are those of the folder that the user stands in ($caller): the scripts
# work in their own folder.
resolve_paths() {
    local name
    for name in "$@"; do
        if [[ -n ${!name:-} && ${!name} != /* && $caller != "$PWD" ]]; then
            printf -v "$name" '%s/%s' "$caller" "${!name}"
        fi
    done
}

# The name of a run without one: the dataset's, and that of the method unless it is EP-SAM.
default_run() {
    if [[ $METHOD == ep_sam ]]; then echo "$DATASET_TYPE"; else echo "$DATASET_TYPE-$METHOD"; fi
}

# The values of METHOD; their stages stand in train.sh and src/epsam/recipes.py.
METHODS="ep_sam strong weakmedsam unet deeplab unet_pseudo sam_box medsam_box enhanced_adl adl gradcam gradcam++ eigencam
    dws_mil sa_mil swin_mil wsss_tissue"

require_method() {
    local name
    for name in $METHODS; do
        if [[ $name == "$METHOD" ]]; then return; fi
    done
    echo "error: METHOD $METHOD: no such method; use one of those beside METHOD in $0" >&2
    exit 1
}

require_gpus() {
    if [[ ! $GPUS =~ ^[1-9][0-9]{0,3}$ ]]; then
        echo "error: GPUS $GPUS: no number of processes; give 1 or more, such as GPUS=2" >&2
        exit 1
    fi
}

# A line for each variable of the environment that is nearly one of the script's: a misspelt DATASET_TYPE would start
# the demo. It is no error, as the variable may be another program's.
warn_of_misspelt_variables() {
    local script=$1 names
    # The block of variables at the top of the script.
    names=$(sed -n 's/^\([A-Z_]*\)=\${.*/\1/p' "$script")
    compgen -e | awk -v script="$script" -v names="$names" '
        function plain(name) { gsub(/_/, "", name); return toupper(name) }
        function least(a, b) { return a < b ? a : b }
        # Characters to insert, remove or replace, and neighbours to swap, until a is b.
        function distance(a, b,    i, j, cost, d) {
            for (i = 0; i <= length(a); i++) d[i, 0] = i
            for (j = 0; j <= length(b); j++) d[0, j] = j
            for (i = 1; i <= length(a); i++) for (j = 1; j <= length(b); j++) {
                cost = substr(a, i, 1) != substr(b, j, 1)
                d[i, j] = least(least(d[i - 1, j], d[i, j - 1]) + 1, d[i - 1, j - 1] + cost)
                if (i > 1 && j > 1 && substr(a, i - 1, 2) == substr(b, j, 1) substr(b, j - 1, 1))
                    d[i, j] = least(d[i, j], d[i - 2, j - 2] + 1)
            }
            return d[length(a), length(b)]
        }
        # Short names are near to many others: RUN has to be right but for case.
        function is_near(a, b) {
            if (a == b) return 1
            if (length(a) >= 7 && index(b, a) == 1) return 1
            return length(b) >= 4 && distance(a, b) <= (length(b) < 8 ? 1 : 2)
        }
        BEGIN { n = split(names, script_names); for (i = 1; i <= n; i++) is_exact[script_names[i]] = 1 }
        !($0 in is_exact) {
            for (i = 1; i <= n; i++) if (is_near(plain($0), plain(script_names[i]))) {
                printf "warning: %s is no variable of %s; did you mean %s?\n", $0, script, script_names[i]
                next
            }
        }'
}
