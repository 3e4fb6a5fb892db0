# To be sourced, from the root of the repository: VENV is a virtual environment with torch and diffusers.
#
# They are installed from PyPI into build/venv (about 6 GB, once); VENV=path takes another virtual environment, which
# must have them.

if [ -z "${VENV:-}" ]; then
  VENV=build/venv
  if [ ! -e "$VENV/complete" ]; then
    echo "installing torch and diffusers into $VENV"
    # The half-made environment of an interrupted installation is made anew.
    python3 -m venv --clear "$VENV" || { echo "python3 -m venv failed: apt-get install python3-venv"; exit 1; }
    "$VENV/bin/pip" install --quiet --disable-pip-version-check \
      torch diffusers transformers ftfy h5py sentencepiece protobuf accelerate numpy pillow
    touch "$VENV/complete"
  fi
fi
