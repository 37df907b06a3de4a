// SPDX-License-Identifier: Apache-2.0
#include "app/options.h"

#include <cstdio>
#include <stdexcept>

namespace atlas::app {

io::AlphaChoice parseAlpha(const std::string& text) {
    if (text == "auto") return io::AlphaChoice::Auto;
    if (text == "yes") return io::AlphaChoice::Believe;
    if (text == "no") return io::AlphaChoice::Ignore;
    throw std::invalid_argument("--alpha is auto, yes or no, not \"" + text + "\"");
}

io::Rect parseRegion(const std::string& text) {
    long long x = 0, y = 0, w = 0, h = 0;
    char rest = 0;
    if (std::sscanf(text.c_str(), "%lld,%lld,%lld,%lld%c", &x, &y, &w, &h, &rest) != 4 || w <= 0 ||
        h <= 0)
        throw std::invalid_argument("--region is X,Y,WIDTH,HEIGHT in pixels, not \"" + text + "\"");
    return {x, y, w, h};
}

}  // namespace atlas::app
