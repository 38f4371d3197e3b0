#!/bin/sh
# sh tests/deploy/bases.sh FOLDER PYTHON: what an image is built from without the internet.
#
#   FOLDER/builder.tar  a root with Python, pip and a shell, in the place of the dev image
#   FOLDER/python.tar   one with Python and no shell, in the place of the base image
#   FOLDER/systemd.tar  one that starts as a machine of its own
#   FOLDER/wheels/      every locked package, for that Python and for PYTHON (an interpreter)
#
# The roots are unpacked Debian packages (nothing is installed or run), from the suite that this
# machine's apt knows, by apt; the wheels come from where this machine's pip takes them, by their
# hashes. Made once, and anew when a lock file changes.
set -eu

folder=$1
python=$2
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
locks="$top/requirements.lock $top/tests/build.lock"
# shellcheck disable=SC2086  # two files
wanted=$(cat $locks "$0" | sha256sum | cut -c 1-16)-$("$python" -c 'import sys; print(sys.version_info[:2])')

[ "$(cat "$folder/complete" 2>/dev/null)" != "$wanted" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder/wheels"

# root NAME PACKAGE,...: one root as a tar archive.
# shellcheck disable=SC2016  # apt fills it in
root() {
  line=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' 'Component: main' |
    grep -v -e security -e updates -e backports | sort -u | head -n 1)
  mmdebstrap --quiet --variant=extract --include="$2" "${line#* }" "$folder/$1.tar" \
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $line main"
}

root builder python3,python3-venv,dash,coreutils
root python python3
root systemd "$(echo systemd systemd-sysv dbus libnss-systemd python3 dash coreutils util-linux mount \
  procps | tr ' ' ,)"

# wheels OPTION...: the packages of the lock files for one Python.
wheels() {
  for lock in $locks; do
    "$python" -m pip download --quiet --disable-pip-version-check --no-input --no-deps \
      --only-binary :all: --require-hashes --dest "$folder/wheels" -r "$lock" "$@"
  done
}

version=$(tar -tf "$folder/python.tar" | sed -n 's|^\./usr/bin/python\(3\.[0-9]*\)$|\1|p')
wheels
[ "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$version" ] ||
  wheels --python-version "$version"
printf '%s\n' "$wanted" >"$folder/complete"
