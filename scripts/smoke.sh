#!/usr/bin/env bash
# Installs the wheel in dist/ into a fresh environment for each interpreter, and tries it.
#
#   scripts/smoke.sh [PYTHON ...]            with the newest dependencies that are allowed
#   OLDEST=1 scripts/smoke.sh [PYTHON ...]   with the oldest, as tests/oldest.txt pins them
#   KEEP=FOLDER                              use (and keep) environments in this folder
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
wheel=$(ls -t dist/langsteer-*.whl | head -1)
work=${KEEP:-$(mktemp -d)}
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
pins=()
[ -z "${OLDEST:-}" ] || pins=(-c tests/oldest.txt)

for python in "${@:-python3}"; do
    name=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    echo "== $name${OLDEST:+, oldest} =="
    [ -d "$work/$name" ] || "$python" -m venv "$work/$name"
    "$work/$name/bin/pip" install --quiet ${pins[@]+"${pins[@]}"} "$wheel"
    "$work/$name/bin/pip" install --quiet --no-deps --force-reinstall "$wheel"
    (cd "$work" && env -u PYTHONPATH "$work/$name/bin/langsteer" --help >/dev/null)
    (cd "$work" && env -u PYTHONPATH "$work/$name/bin/python" "$root/scripts/smoke.py" "$work/$name/bin/langsteer")
    [ -n "${KEEP:-}" ] || rm -rf "${work:?}/$name"
done
