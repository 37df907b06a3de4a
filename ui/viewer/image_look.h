// SPDX-License-Identifier: Apache-2.0
// How the viewer shows the pixels of an image: adjusted on the way to the screen, never in memory.
#pragma once

#include <QColor>
#include <array>

namespace atlas::ui {

struct ChannelLook {
    double brightness = 0;  ///< added, -1 to 1
    double contrast = 1;    ///< factor around the middle, 0 to 4
    double gamma = 1;       ///< 0.2 to 5; above 1 is brighter
    bool operator==(const ChannelLook&) const = default;
    /// Of a value of 0 to 1.
    double apply(double value) const;
};

/// One stain alone, by colour deconvolution (Ruifrok and Johnston 2001: optical density is a sum of
/// stains).
enum class Stain { All, Hematoxylin, Eosin, Residual };

struct StainVectors {
    /// Rows: the optical density of hematoxylin, eosin and the residual, of length 1.
    std::array<std::array<double, 3>, 3> vectors;
    bool operator==(const StainVectors&) const = default;

    /// QuPath's default H&E vectors.
    StainVectors();
    /// The residual is what is at right angles to both.
    StainVectors(const std::array<double, 3>& hematoxylin, const std::array<double, 3>& eosin);
    /// Amounts of each stain from an optical density: amounts = density * inverse (row vectors).
    std::array<std::array<double, 3>, 3> inverse() const;
};

struct ImageLook {
    std::array<ChannelLook, 3> channels;
    Stain stain = Stain::All;
    StainVectors stains;
    bool operator==(const ImageLook&) const = default;
    /// Every colour stays as it is.
    bool untouched() const { return channels == decltype(channels)() && stain == Stain::All; }

    QColor apply(const QColor& color) const;
};

}  // namespace atlas::ui
