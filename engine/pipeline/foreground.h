// SPDX-License-Identifier: Apache-2.0
// Which parts of an image are worth classifying.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/pipeline/context_reader.h"
#include "engine/pipeline/run_request.h"
#include "io/color_source.h"

namespace atlas::engine {

/// Which cells of a coarse map over the whole image hold tissue (microscope pictures: Otsu's
/// threshold of the saturation, or of the brightness on a dark ground) or data (all others).
struct ForegroundMap {
    int width = 0, height = 0;
    std::vector<uint8_t> inside;  ///< 0 or 1
    bool tissue = false;          ///< else: data
    std::string rule;             ///< for people, such as "tissue (Otsu of the saturation)"
    /// Share of 0 to 1 of a level-0 rectangle that is inside.
    double share(const io::ImageInfo& info, double x, double y, double w, double h) const;
};

/// What decides between tissue and data is the picture, not the reader: its resolution (that of the
/// file, or the one given) is that of a microscope, it lies on no map, and it shows bright glass or
/// is dark (fluorescence). Slide formats always count as microscope pictures. Throws
/// io::ReadError.
ForegroundMap findForeground(const io::ColorSource& image, std::optional<double> givenUm = {});

class WsinferTissue;

/// Decides which contexts are classified.
class ContextFilter {
  public:
    /// Throws io::ReadError, and std::runtime_error where the rule does not suit the image.
    ContextFilter(const io::ColorSource& image, const RunRequest& request);
    ~ContextFilter();
    /// Tissue: 5 % of what lies in the image is inside; or the centre, by WSInfer's rule. Data:
    /// wherever a valid pixel may be; contexts without one turn out empty when they are read.
    /// `seen`: what the network would be given; `answered`: the part of the image that it would
    /// answer for.
    bool takes(const ContextBox& seen, const ContextBox& answered) const;
    bool isTissue() const { return wsinfer_ || map_.tissue; }
    const std::string& rule() const { return map_.rule; }

  private:
    const io::ColorSource& image_;
    ForegroundMap map_;
    std::unique_ptr<WsinferTissue> wsinfer_;
};

}  // namespace atlas::engine
