# Sourced by train.sh, infer.sh and test.sh: leaves the Python to use in $PYTHON.
#
# An active virtualenv or conda environment is taken as it is; otherwise .venv is made on first use, and brought up to
# date whenever the requirements change. The marker is written last, so that a broken-off installation is done again.

requirements=${1:-requirements.txt}

if [[ -n "${VIRTUAL_ENV:-}" || -n "${CONDA_PREFIX:-}" ]]; then
    PYTHON=$(command -v python)
    echo "environment: the active one, ${VIRTUAL_ENV:-${CONDA_PREFIX:-}}"
    needed="cv2 imagecodecs segment_anything skimage tifffile torch torchvision tqdm"
    [[ $requirements == requirements-test.txt ]] && needed="$needed hypothesis mypy pytest ruff xdist"
    # Looked for, not imported: that takes seconds, and src/check.py does it.
    missing=$("$PYTHON" -c 'import importlib.util as i, sys; print(*(n for n in sys.argv[1:] if not i.find_spec(n)))' $needed)
    if [[ -n $missing ]]; then
        echo "error: the active environment lacks ${missing// /, }; run: pip install -r $requirements" >&2
        exit 1
    fi
else
    PYTHON=$PWD/.venv/bin/python
    wanted=$(cat requirements*.txt | cksum)
    marker=.venv/installed-$(basename "$requirements" .txt)
    if [[ ! -f $marker || "$(cat "$marker")" != "$wanted" ]]; then
        echo "environment: installing $requirements into .venv (once; PyTorch is several GB)"
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
            echo "error: Python 3.10 or newer is needed, found $(python3 --version); put a newer python3 on PATH" >&2
            exit 1
        }
        [[ -x $PYTHON ]] || python3 -m venv .venv
        "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$requirements" || {
            echo "error: pip could not install $requirements; see its message above, then run this script again" >&2
            exit 1
        }
        echo "$wanted" > "$marker"
    fi
fi
