#!/usr/bin/env bash
# Under every Python of this machine that semipose supports: install, help, drawn people, a training of a few steps, and some tests.
# Each gets an environment in .matrix/ (minutes and 6 GB the first time; `make clean` removes them all).
# PYTHONS="python3.10 /path/to/python3.13" make matrix    names other interpreters than those on PATH and of pyenv
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONPATH
tests="tests/test_imports.py tests/test_skeletons.py tests/test_geometry.py tests/test_codecs.py tests/test_views.py"

pythons=${PYTHONS:-$(printf 'python3.%s ' 10 11 12 13 14) $(ls -d "$(pyenv root 2>/dev/null)"/versions/3.1[0-4].*/bin/python 2>/dev/null || true)}

quick() {  # everything with the environment $1, in a folder of its own; stops at the first thing that fails
  local bin=$PWD/$1/bin here
  here=$(mktemp -d)
  "$bin/python" -m pip install --disable-pip-version-check -q -e '.[dev]' &&
  "$bin/semipose" --help >/dev/null &&
  (cd "$here" && "$bin/semipose" synth people --train 24 --val 8 --size 48x40 &&
   "$bin/semipose" train posedual_jc --data people --labels 8 --protocol demo --size 32x32 --batch 4 --start-steps 2 --steps 4 --every 2 --device cpu) &&
  "$bin/python" -m pytest -q -p no:cacheprovider $tests
  local rc=$?
  rm -rf "$here"
  return $rc
}

mkdir -p .matrix
found=() failed=()
for python in $pythons; do
  version=$("$python" -c 'import ensurepip, sys, venv; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
  case " ${found[*]-} " in *" $version "*) continue ;; esac
  found+=("$version")
  echo "Python $version ($python):"
  [ -x ".matrix/$version/bin/python" ] || "$python" -m venv ".matrix/$version"
  if quick ".matrix/$version" >".matrix/$version.log" 2>&1; then tail -1 ".matrix/$version.log"
  else failed+=("$version"); tail -15 ".matrix/$version.log"; fi
done
[ ${#found[@]} -gt 0 ] || { echo "No Python from 3.10 to 3.14 was found; name one: PYTHONS=/path/to/python3.12 make matrix" >&2; exit 1; }
echo "Tried: ${found[*]}. Failed: ${failed[*]:-none}. What was printed: .matrix/*.log"
[ ${#failed[@]} = 0 ]
