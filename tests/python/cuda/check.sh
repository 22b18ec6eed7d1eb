#!/bin/sh
# Everything there is to know of a GPU build, in about five minutes: tests, measurements, then the kernels under
# compute-sanitizer. From the repository's root, with taesr importable:
#
#     sh tests/python/cuda/check.sh [FOLDER FOR LOGS AND cuda_encode.json]
#
# Runs all steps whatever fails, and ends with 1 if one did.
logs=${1:-.}
python=${PYTHON:-python3}
failed=0

step() {
  name=$1
  shift
  printf '== %s\n' "$name"
  "$@" >"$logs/$name.log" 2>&1 || { failed=1; printf '   failed\n'; }
  tail -n "${lines:-12}" "$logs/$name.log"
}

lines=40 step tests timeout 150 "$python" -m pytest -q -x --maxfail=15 -p no:cacheprovider tests/python/cuda
lines=80 step measurements timeout 150 "$python" benchmarks/cuda_encode.py --profile --json "$logs/cuda_encode.json"
if command -v compute-sanitizer >/dev/null; then
  # Every tensor an allocation of its own: PyTorch's cache would hide what is read beyond one.
  export PYTORCH_NO_CUDA_MEMORY_CACHING=1
  operators="$python -m pytest -q -p no:cacheprovider tests/python/cuda/test_operators.py"
  step memcheck timeout 120 compute-sanitizer --tool memcheck --error-exitcode 9 $operators -k "513 and not norms"
  step racecheck timeout 90 compute-sanitizer --tool racecheck --error-exitcode 9 $operators \
    -k "(tile_attention and 513 and 32) or (best_rows and 513) or (active_rows and 513) or maxsim"
else
  echo "compute-sanitizer is not on the PATH: left out"
fi
exit $failed
