// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace atlas::io {

/// A to Z in small letters, everything else as it is. std::tolower follows the locale: under a
/// Turkish one an I stays an I, and "SCAN.TIF" would be no image.
inline std::string lowerAscii(std::string text) {
    for (char& c : text)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return text;
}

}  // namespace atlas::io
