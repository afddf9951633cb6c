# Sourced by train.sh, infer.sh, ablate.sh and test.sh: sets $PYTHON to the Python to use.
#
# An active virtualenv or conda environment is used as it is. Otherwise .venv is created on first
# use, and updated whenever the requirements change. The marker is written last, so that an
# interrupted installation is repeated.

requirements=${1:-requirements.txt}

if [[ -n "${VIRTUAL_ENV:-}" || -n "${CONDA_PREFIX:-}" ]]; then
    environment=${VIRTUAL_ENV:-$CONDA_PREFIX}
    PYTHON=$(command -v python || :)
    if [[ ! -d $environment || -z $PYTHON ]]; then
        echo "error: the active environment, $environment, is gone or has no python; deactivate it (unset VIRTUAL_ENV CONDA_PREFIX), and .venv is made" >&2
        exit 1
    fi
    echo "environment: the active one, $environment"
    needed="cv2 imagecodecs jinja2 matplotlib openslide openslide_bin packaging segment_anything segmentation_models_pytorch skimage sklearn scipy tifffile torch torchvision tqdm"
    [[ $requirements == requirements-test.txt ]] && needed="$needed hypothesis mypy pytest ruff xdist"
    # Found, not imported: an import takes seconds, and src/check.py does it.
    missing=$("$PYTHON" -c 'import importlib.util as i, sys; print(*(n for n in sys.argv[1:] if not i.find_spec(n)))' $needed) || {
        echo "error: $PYTHON of the active environment does not run, see its message above; make the environment again" >&2
        exit 1
    }
    if [[ -n $missing ]]; then
        echo "error: the active environment lacks ${missing// /, }; run: pip install -r $requirements" >&2
        exit 1
    fi
else
    PYTHON=$PWD/.venv/bin/python
    checksum=$(cat requirements*.txt | cksum)
    marker=.venv/installed-$(basename "$requirements" .txt)
    # A .venv whose Python was removed or renamed is made again, too.
    if [[ ! -x $PYTHON || ! -f $marker || "$(cat "$marker")" != "$checksum" ]]; then
        echo "environment: installing $requirements into .venv (once; PyTorch is several GB)"
        python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
            echo "error: Python 3.10 or newer is needed, found $(python3 --version); put a newer python3 on PATH" >&2
            exit 1
        }
        [[ -x $PYTHON ]] || python3 -m venv --clear .venv || {
            echo "error: python3 could not make .venv, see its message above; on Debian and Ubuntu: apt install python3-venv" >&2
            exit 1
        }
        "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$requirements" || {
            echo "error: pip could not install $requirements; see its message above, then run this script again" >&2
            exit 1
        }
        echo "$checksum" > "$marker"
    fi
fi
