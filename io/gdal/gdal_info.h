// SPDX-License-Identifier: Apache-2.0
// What a GDAL dataset says about itself.
#pragma once

#include <optional>

#include "io/gdal/gdal_support.h"
#include "io/image_source.h"

namespace atlas::io {

SampleType sampleTypeOf(GDALDatasetH dataset);
std::optional<GeoReference> georeferenceOf(GDALDatasetH dataset);
/// From the georeference, else from believable TIFF resolution tags; a tag that is not believed
/// adds a warning.
std::optional<Resolution> resolutionOf(GDALDatasetH dataset, const std::optional<GeoReference>& geo,
                                       std::vector<std::string>& warnings);
std::vector<std::string> subdatasetsOf(GDALDatasetH dataset);
/// Empty where there is none.
std::string iccProfileOf(GDALDatasetH dataset);

}  // namespace atlas::io
