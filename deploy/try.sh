#!/bin/sh
# sh deploy/try.sh [--check] [--config FILE]: run the proxy and say what to paste into clients.
#
# With a pull token configured it serves the real upstreams. "Configured" is: --config FILE, a
# cgr-proxy.toml in the current folder, $CGR_PROXY_CONFIG, or the environment variables
# CHAINGUARD_PYTHON_IDENTITY_ID and CHAINGUARD_PYTHON_TOKEN, or another ecosystem's. Without one it
# starts a look-alike of the upstream on loopback first, which takes its packages through this
# machine's own pip.
#
# --check: install one package through the proxy into an environment of its own, say so, and stop.
# Where clients are configured it needs a token of one, in $CGR_PROXY_TOKEN.
# Ctrl-C or SIGTERM stops everything that was started.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
here=$(pwd -P)
# shellcheck source=deploy/environment.sh
. "$top/deploy/environment.sh"

config=
check=
origin=
proxy=

usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$top/deploy/try.sh"
  exit "$1"
}

while [ $# -gt 0 ]; do
  case $1 in
    --check) check=yes ;;
    --config)
      [ $# -gt 1 ] || usage 64 >&2
      config=$2
      shift
      ;;
    -h | --help) usage 0 ;;
    *)
      echo "try.sh: no such option: $1" >&2
      usage 64 >&2
      ;;
  esac
  shift
done

# end PID: stop one process that this script started, and wait for it. A signal meanwhile is passed
# on: the second one ends the proxy's drain.
# shellcheck disable=SC2329  # called by a trap
end() {
  [ -n "$1" ] || return 0
  kill "$1" 2>/dev/null || return 0
  # shellcheck disable=SC2064  # the process of now
  trap "kill $1 2>/dev/null || :" INT TERM HUP
  while kill -0 "$1" 2>/dev/null; do
    wait "$1" 2>/dev/null || :
  done
}

# shellcheck disable=SC2329  # called by a trap
stop() {
  trap - EXIT
  end "$proxy"
  end "$origin"
  rm -rf "$run"
}

# ready NAME PID FILE: wait for the one line that a program prints when it is ready, in $line. The
# first start of the look-alike fetches its packages, hence five minutes. Not for $(...): only the
# shell that started a program learns of its end.
ready() {
  tries=0
  until [ -s "$3" ]; do
    kill -0 "$2" 2>/dev/null || broken "$1 ended before it was ready"
    tries=$((tries + 1))
    [ "$tries" -lt 3000 ] || broken "$1 was not ready within five minutes"
    sleep 0.1
  done
  line=$(cat "$3")
}

# broken MESSAGE: show the logs that were kept, and give up.
broken() {
  for log in "$run"/*.log; do
    [ ! -s "$log" ] || cat "$log" >&2
  done
  fail "$1"
}

# listen: the usual address, or a free port where something else has it.
listen() {
  "$env/bin/python" - <<'PY'
import socket
with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", 8080))
    except OSError:
        print("127.0.0.1:0")
    else:
        print("127.0.0.1:8080")
PY
}

configured() {
  if [ -z "$config" ] && [ -n "${CGR_PROXY_CONFIG:-}" ]; then
    config=$CGR_PROXY_CONFIG
  elif [ -z "$config" ] && [ -f "$here/cgr-proxy.toml" ]; then
    config=$here/cgr-proxy.toml
  fi
  case $config in
    "" | /*) ;;
    *) config=$here/$config ;;
  esac
  [ -n "$config" ] || in_environment
}

# in_environment: a pull token of any ecosystem is there, as `chainctl --output env` prints them.
in_environment() {
  for ecosystem in PYTHON JAVA JAVASCRIPT OCI APK GO DOTNET; do
    eval "[ -n \"\${CHAINGUARD_${ecosystem}_IDENTITY_ID:-}\" ]" &&
      eval "[ -n \"\${CHAINGUARD_${ecosystem}_TOKEN:-}\" ]" && return 0
  done
  return 1
}

look_alike() {
  say "no pull token is configured: this is a try-out against a look-alike of the upstream"
  say "starting it on loopback (its first start fetches a few packages through your pip)"
  "$env/bin/python" -m tests.origin --credentials-out "$run/credentials" --fill \
    >"$run/origin.out" 2>"$run/origin.log" </dev/null &
  origin=$!
  ready "the look-alike" "$origin" "$run/origin.out"
  # origin ready URL store URL control URL registry URL apk URL
  libraries=$(printf '%s\n' "$line" | cut -d ' ' -f 3)
  store=$(printf '%s\n' "$line" | cut -d ' ' -f 5)
  registry=$(printf '%s\n' "$line" | cut -d ' ' -f 9)
  apk=$(printf '%s\n' "$line" | cut -d ' ' -f 11)
  config=$run/cgr-proxy.toml
  cat >"$config" <<TOML
[server]
listen = "$(listen)"
admin_listen = "127.0.0.1:0"
shutdown_grace = "5s"

[cache]
directory = "$run/cache"

[upstream]
libraries = "$libraries"
registry = "$registry"
apk = "$apk"
redirect_hosts = ["${store#*://}"]
allow_networks = ["127.0.0.0/8"]
allow_insecure = true

[credentials.default]
username_file = "$run/credentials/username"
password_file = "$run/credentials/password"
TOML
}

paste() {
  cat <<TEXT

The proxy serves $1. Paste:
$known
  pip install --index-url $url/python/simple/ flask
  uv pip install --default-index $url/python/simple/ flask
  npm install --registry $url/javascript/ $npm
  GOPROXY=$url/go,off GONOSUMDB='*' go get $module
  skopeo inspect --tls-verify=false docker://${url#*://}/chainguard/static:latest

and in Maven's settings.xml, between <mirrors> and </mirrors>:

  <mirror><id>cgr-proxy</id><mirrorOf>*</mirrorOf><url>$url/java/</url></mirror>

More of each, and of other clients (README.md has the same):
  cd $top && $env/bin/python -m proxy setup CLIENT --url $url
One index only: with --extra-index-url pip takes whatever the proxy refuses from the other index.
Health: $admin/readyz   Metrics: $admin/metrics
TEXT
}

# asks: whether the proxy lets nobody in without a token.
asks() {
  "$env/bin/python" - "$url/python/simple/" <<'PY'
import sys, urllib.error, urllib.request
try:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=60):
        raise SystemExit(1)
except urllib.error.HTTPError as error:
    raise SystemExit(error.code != 401)
except OSError:
    raise SystemExit(1)
PY
}

# install: one package through the proxy, into an environment of its own, with none of this
# machine's settings for pip. The token is in a file that pip reads by itself.
install() {
  if [ -n "$known" ]; then
    host=${url#*://}
    (umask 077 && printf 'machine %s login any password %s\n' "${host%:*}" "$CGR_PROXY_TOKEN" >"$run/.netrc")
  fi
  "$python" -m venv "$run/client"
  clean_env "$run/client/bin/python" -m pip --isolated --no-cache-dir --disable-pip-version-check \
    --no-input install --quiet --index-url "$url/python/simple/" flask
  "$run/client/bin/python" -c 'import flask' || fail "flask cannot be imported"
}

clean_env() {
  env -i PATH="$PATH" HOME="$run" LANG=C.UTF-8 PIP_CONFIG_FILE=/dev/null "$@"
}

cd "$top"
export CGR_PROXY_TEST_CACHE="${CGR_PROXY_TEST_CACHE:-$top/.cache/content}"
find_python
environment try requirements.lock
mkdir -p "$top/.cache/runs"
run=$(mktemp -d "$top/.cache/runs/try.XXXXXX")
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if configured; then
  upstream="the configured upstreams"
  npm=express
  module=github.com/google/uuid
  say "serving the configured upstreams"
else
  look_alike
  # Python packages are real ones; of the other ecosystems it has a few made-up ones.
  upstream="a look-alike on loopback, not the vendor's"
  npm=alpha-js
  module=example.org/demo
fi

set -- serve
[ -z "$config" ] || set -- "$@" --config "$config"
# The proxy's log goes to the terminal; for a check it is kept and shown only if it fails.
if [ -n "$check" ]; then exec 4>"$run/proxy.log"; else exec 4>&2; fi
"$env/bin/python" -m proxy "$@" >"$run/proxy.out" 2>&4 4>&- </dev/null &
proxy=$!
ready "the proxy" "$proxy" "$run/proxy.out"
say "$line"
# cgr-proxy ready URL admin URL
url=$(printf '%s\n' "$line" | cut -d ' ' -f 3)
admin=$(printf '%s\n' "$line" | cut -d ' ' -f 5)
known=
if asks; then
  known="
(The configuration lets in known clients only: each of these needs a token as its password, with any
user name. README.md says where each client keeps one.)
"
fi
paste "$upstream"

if [ -n "$check" ]; then
  [ -z "$known" ] || [ -n "${CGR_PROXY_TOKEN:-}" ] ||
    fail "clients are configured: put a token of one into CGR_PROXY_TOKEN for the check"
  install || broken "pip could not install flask through the proxy"
  say "ok: pip installed flask through the proxy"
  exit 0
fi
say "Ctrl-C stops it."
code=0
wait "$proxy" || code=$?
fail "the proxy ended by itself (exit code $code)"
