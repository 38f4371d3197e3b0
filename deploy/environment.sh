# shellcheck shell=sh
# The set-up that deploy/try.sh and tests/run.sh share: finds a Python, makes a virtual
# environment from a lock file, and does both only when it has to. Sourced, not run.
#
# Wants: $top (the checkout, absolute). Gives: find_python, environment, project, say, fail.
# Reading: PEP 405 (virtual environments), pip's "secure installs" (hash checking).
# Non-goals: running anything; settings of a package client (the machine's own ones hold).
: "${top:?the folder of the checkout}"

say() { printf '%s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# debian_lists: read apt's lists once.
debian_lists() {
  if [ -z "${debian_updated:-}" ]; then
    apt-get update -qq >&2 || fail "apt-get update failed"
    debian_updated=yes
  fi
}

# debian PACKAGE...: install what is missing, as root; otherwise say which.
debian() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    fail "missing: $*. Install it (Debian: apt-get install $*) and run this again."
  fi
  say "installing Debian packages: $*"
  debian_lists
  debian_said=$(DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" 2>&1 </dev/null) ||
    fail "apt-get install $* failed: $debian_said"
}

suitable() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' >/dev/null 2>&1
}

# search_python: set $python to the newest suitable interpreter of the PATH, or to nothing.
search_python() {
  python=
  for candidate in python3.14 python3.13 python3.12 python3.11 python3; do
    if suitable "$candidate"; then
      python=$candidate
      return
    fi
  done
}

# find_python: set $python to an interpreter of 3.11 to 3.14 that can make environments.
# $PYTHON, where given, is the only one asked.
find_python() {
  if [ -n "${PYTHON:-}" ]; then
    suitable "$PYTHON" || fail "PYTHON=$PYTHON is no Python 3.11 to 3.14"
    python=$PYTHON
  else
    search_python
    if [ -z "$python" ]; then
      debian python3 python3-venv
      search_python
      [ -n "$python" ] || fail "no Python 3.11 to 3.14 found. Name one: PYTHON=... sh $0"
    fi
  fi
  if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    debian "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
  fi
  python=$("$python" -c 'import sys; print(sys.executable)')
}

# fingerprint FILE...: print a key of this interpreter and the contents of the files.
fingerprint() {
  "$python" - "$@" <<'PY'
import hashlib, sys
key = hashlib.sha256(sys.version.encode())
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        key.update(file.read())
print("%d.%d-%s" % (*sys.version_info[:2], key.hexdigest()[:12]))
PY
}

# environment NAME LOCK...: set $env to a virtual environment that holds exactly the lock files'
# packages. One that is whole is used as it is; a half-made or moved one is made anew.
environment() {
  env_name=$1
  shift
  env=$top/.cache/environments/$env_name-$(fingerprint "$@")
  mkdir -p "$top/.cache/environments"
  # A second run at the same time waits for the first one and then finds its work done.
  (
    if command -v flock >/dev/null 2>&1; then
      flock -w 900 9 || fail "another run holds $env.lock"
    fi
    make_environment "$@" 9>&-
  ) 9>"$env.lock"
}

make_environment() {
  if [ "$(cat "$env/complete" 2>/dev/null)" = "$env" ] && "$env/bin/python" -c '' 2>/dev/null; then
    return
  fi
  say "making the environment $env_name ($("$python" --version), locked packages)"
  rm -rf "$env"
  "$python" -m venv "$env"
  for lock in "$@"; do
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
      --no-deps --no-build-isolation --require-hashes -r "$lock" || fail "could not install $lock"
  done
  printf '%s\n' "$env" >"$env/complete"
}

# project: install this checkout into $env, editable, with the build backend that is in the lock.
project() {
  wanted=$(fingerprint "$top/pyproject.toml" "$top/proxy/__init__.py")
  [ "$(cat "$env/project" 2>/dev/null)" != "$wanted" ] || return 0
  "$env/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --no-deps --no-build-isolation --no-index --editable "$top" || fail "could not install the project"
  printf '%s\n' "$wanted" >"$env/project"
}
