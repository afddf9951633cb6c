# Sourced by train.sh, infer.sh and ablate.sh: `start_log FILE`, and `stage SCRIPT FLAGS…` for a stage.
#
# bash handles a signal only when the command that it waits for has ended. So a stage runs in the background, where a
# `kill` of the script is handled at once and passed on to the stage, which then saves its state.

stage_pid=
interrupted=
on_failure=:

# From here on, everything that is printed also goes to a file.
start_log() {
    # tee would say it in words of its own, and the run would go on without a log.
    if ! mkdir -p -- "$(dirname -- "$1")" 2> /dev/null || ! { : >> "$1"; } 2> /dev/null; then
        echo "error: $1: cannot be written; change the folder's permissions, or give another folder by LOG_DIR" >&2
        exit 1
    fi
    # Ctrl-C and SIGTERM are for the stage, which then says what it has saved: the log has to outlive it.
    # Progress bars need a terminal behind stderr; without one, everything goes through the log.
    if [[ -t 2 ]]; then
        exec > >(trap '' INT TERM; exec tee -a -- "$1")
    else
        exec > >(trap '' INT TERM; exec tee -a -- "$1") 2>&1
    fi
    log_pid=${!:-}
    trap finish_log EXIT
    trap pass_on INT TERM
}

finish_log() {
    local code=$?
    # 130: interrupted, which is no failure.
    (( code % 130 )) && "$on_failure" &> /dev/null
    # The log is complete when tee has read to the end.
    exec >&- 2>&-
    wait "$log_pid" || :
    exit "$code"
}

pass_on() {
    interrupted=1
    # Ctrl-C reaches the stage, too. This signal is taken for the same request, and not for a second one.
    [[ -z $stage_pid ]] || kill -USR1 "$stage_pid" 2> /dev/null || :
}

# Run a stage; its exit code, or 130 if a request to stop came too late for it.
stage() {
    local code=0
    stop_if_interrupted
    # bash starts background commands with Ctrl-C ignored; the variable says that the stage is to heed it all the same.
    local heed=
    [[ $(trap -p INT) == *pass_on* ]] && heed=1
    EPSAM_HEED_INTERRUPT=$heed "$PYTHON" "$@" &
    stage_pid=$!
    # A request that came between the start and the line above had nobody to be passed on to.
    [[ -z $interrupted ]] || kill -USR1 "$stage_pid" 2> /dev/null || :
    while :; do
        if exit_code_is_lost; then code=130; break; fi
        local before=$interrupted
        interrupted=
        code=0
        # A signal ends the waiting, but not the stage.
        { wait "$stage_pid" || code=$?; } 2> /dev/null
        [[ -n $interrupted ]] || { interrupted=$before; break; }
    done
    stage_pid=
    # 138: the signal came before the stage could heed it.
    if [[ -n $interrupted && $code == 138 ]]; then code=0; fi
    if (( code )); then return "$code"; fi
    stop_if_interrupted
}

# Run a stage in $GPUS processes that share its work.
shared_stage() {
    if (( GPUS == 1 )); then stage "$@"; else stage src/start_processes.py "$GPUS" "$@"; fi
}

# bash 5.2 drops the exit code of a child that ends at the very moment of a signal. It then takes the child for running,
# and would wait for it forever.
exit_code_is_lost() {
    ! kill -0 "$stage_pid" 2> /dev/null && grep -qx "$stage_pid" <<< "$(jobs -rp)"
}

stop_if_interrupted() {
    if [[ -n $interrupted ]]; then
        echo "interrupted; run the same command again to go on"
        exit 130
    fi
}
