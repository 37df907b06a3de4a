#!/usr/bin/env bash
# Holds the layers of the architecture: no Qt in io and engine; no torch, GDAL or OpenSlide in ui;
# and no cycles: io knows nothing of ours above it, kernels < nn < pipeline and training < ui < app.
# io/numbers.h needs nothing but the standard library, and every layer may use it.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bad=0
forbid() {  # folders, pattern of an include, why
  local found
  found=$(grep -rnE "#include *[<\"]$2" $1 --include='*.h' --include='*.cpp' --include='*.cu' |
    grep -v '#include "io/numbers.h"')
  [[ -z $found ]] && return
  printf '%s\n%s\n' "$3:" "$found"
  bad=1
}
forbid "io engine" '(Q[A-Z]|Qt)' "Qt outside of ui and app"
forbid "ui" '(torch|ATen|c10|gdal|ogr|cpl_|openslide|opencv)' "a reader's or network's library in ui"
forbid "engine/pipeline engine/training/dataset.h engine/training/trainer.h" '(torch|ATen|c10)' "torch in the pipeline or in a public header"
forbid "io" '(engine|ui|app)/' "io knows nothing above it"
forbid "engine" '(ui|app)/' "engine knows nothing above it"
forbid "engine/kernels" 'engine/(nn|pipeline|training)/' "kernels know nothing above them"
forbid "engine/nn" '(engine/(pipeline|training)|io)/' "nn knows nothing above it"
forbid "engine/pipeline" 'engine/training/' "pipeline and training are apart"
forbid "ui" 'app/' "ui knows nothing above it"
exit $bad
