// SPDX-License-Identifier: Apache-2.0
// Sizes in words, beside engine::lengthText.
#pragma once

#include <QString>

namespace atlas::ui {

/// Square micrometres as m², ha or km² (on the ground), µm² or mm² (on a slide).
inline QString areaText(double um2, bool ground, int digits) {
    if (ground) {
        const double m2 = um2 * 1e-12;
        return m2 >= 1e6   ? QString("%1 km²").arg(m2 * 1e-6, 0, 'f', digits)
               : m2 >= 1e3 ? QString("%1 ha").arg(m2 * 1e-4, 0, 'f', digits)
                           : QString("%1 m²").arg(m2, 0, 'f', 1);
    }
    return um2 >= 1e5 ? QString("%1 mm²").arg(um2 * 1e-6, 0, 'f', digits)
                      : QString("%1 µm²").arg(um2, 0, 'f', 0);
}

}  // namespace atlas::ui
