#!/usr/bin/env bash
# Sets AtlasScope up on Debian 12 and runs it.
#   installer/setup.sh deps            packages, locales for tests and, into .venv, LibTorch and OpenSlide
#   installer/setup.sh build           the program, into build/release
#   installer/setup.sh run [ARGS]      deps and build, then the program; without ARGS the sample
#   installer/setup.sh test            deps, a build with tests, and ctest
# Each may be run again; what is there already is left alone.
# ATLASSCOPE_TORCH_INDEX   another package index for the torch wheel (e.g. one with CUDA builds)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
torch=2.13.0
openslide=4.0.1.2
packages=(
  g++ cmake ninja-build mold ccache clang-format pkg-config git python3-venv ca-certificates
  qt6-base-dev libqt6opengl6-dev libgl1-mesa-dri libgl-dev libegl-dev fonts-dejavu-core
  libopenslide-dev libgdal-dev gdal-bin libopencv-dev libzip-dev libssl-dev
  libtiff-dev libjpeg62-turbo-dev libopenjp2-7-dev libproj-dev qt6-svg-dev
  libcli11-dev nlohmann-json3-dev libgtest-dev googletest xvfb xauth locales
)
locales=(de_DE tr_TR)  # in UTF-8, for tests: decimal commas; an i that is not the small form of I

say() { printf '\n== %s\n' "$*"; }

as_root() { if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo "$@"; fi; }

apt_deps() {
  local missing=()
  for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -eq 0 ]] && return
  say "Installing ${#missing[@]} Debian packages: ${missing[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

locale_deps() {  # into the system's archive
  local name
  for name in "${locales[@]}"; do
    locale -a | grep -ix "$name\.utf-\?8" >/dev/null && continue
    say "Making the locale $name.UTF-8, which tests run under"
    as_root localedef -i "$name" -f UTF-8 "$name.UTF-8"
  done
}

venv_deps() {
  local stamp=$venv/.atlasscope-$torch-$openslide-onnx2
  [[ -e $stamp ]] && return
  say "Installing LibTorch $torch into .venv (about 200 MB to download for a CPU build; a CUDA build is several GB)"
  [[ -x $venv/bin/python ]] || python3 -m venv "$venv"
  local index=()
  [[ -n ${ATLASSCOPE_TORCH_INDEX:-} ]] && index=(--index-url "$ATLASSCOPE_TORCH_INDEX")
  "$venv/bin/pip" install -q --disable-pip-version-check "${index[@]}" "torch==$torch" 2>&1 | grep -v '^WARNING' || true
  # Test tools, and OpenSlide 4 (DICOM, newer scanners); without it Debian's 3.4.1 is used.
  "$venv/bin/pip" install -q --disable-pip-version-check numpy safetensors pillow 2>&1 | grep -v '^WARNING' || true
  "$venv/bin/pip" install -q --disable-pip-version-check "openslide-bin==$openslide" 2>&1 | grep -v '^WARNING' ||
    true
  # ONNX Runtime runs .onnx models; onnx and timm export them (resources/export_timm.py, tests).
  # LibTorch is named again: its wheel must not be replaced by the one that timm would like.
  "$venv/bin/pip" install -q --disable-pip-version-check "${index[@]/--index-url/--extra-index-url}" \
    onnxruntime onnx timm "torch==$torch" 2>&1 |
    grep -v '^WARNING' || true
  "$venv/bin/python" -c "import torch; assert torch.__version__.startswith('$torch')" || { echo "LibTorch could not be installed into $venv" >&2; exit 1; }
  touch "$stamp"
}

deps() { apt_deps; locale_deps; venv_deps; }

build() {  # preset
  cd "$root"
  [[ -e build/$1/build.ninja ]] || { say "Configuring the $1 build"; cmake --preset "$1" >"/tmp/atlasscope-cmake-$1-$$.log" ||
    { cat "/tmp/atlasscope-cmake-$1-$$.log"; exit 1; }; }
  say "Building ($1)"
  cmake --build "build/$1" -- --quiet
}

run() {
  deps
  build release
  local program=$root/build/release/bin/atlasscope
  if [[ $# -gt 0 ]]; then exec "$program" "$@"; fi
  if [[ -n ${DISPLAY:-}${WAYLAND_DISPLAY:-} ]]; then
    say "Opening the sample with the model \"scenes\""
    exec "$program" --model scenes --classify
  fi
  local out=$root/build/sample-results
  say "There is no display: classifying the sample headless"
  "$program" classify "synthetic:size=8192,seed=1182" --model scenes --precision auto --attention --out "$out"
}

run_tests() {
  deps
  build dev
  cd "$root"
  export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$(mktemp -d)}
  chmod 700 "$XDG_RUNTIME_DIR"
  ctest --preset dev
}

case ${1:-} in
  deps) deps ;;
  build) build release ;;
  run) shift; run "$@" ;;
  test) run_tests ;;
  *) sed -n '2,8p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
