// SPDX-License-Identifier: Apache-2.0
// The viewer's mathematics and colours, without a screen.
#include <gtest/gtest.h>

#include <cmath>

#include "ui/result_layers.h"
#include "ui/viewer/color_maps.h"
#include "ui/viewer/decorations.h"
#include "ui/viewer/failed_tiles.h"
#include "ui/viewer/image_look.h"
#include "ui/viewer/overlay_layer.h"
#include "ui/viewer/view_transform.h"

namespace atlas::ui {
namespace {

ViewTransform viewOf(double w, double h) {
    ViewTransform t;
    t.setViewSize({800, 600});
    t.setImageSize({w, h});
    t.fit();
    return t;
}

TEST(FailedTiles, AreAskedForAgainEverMoreSeldom) {
    FailedTiles failed;
    const TileId tile{0, 3, 4};
    auto now = FailedTiles::Clock::now();
    bool isFirst = false;
    EXPECT_EQ(failed.add(tile, now, isFirst), std::chrono::seconds(2));
    EXPECT_TRUE(isFirst);
    EXPECT_TRUE(failed.isHeldBack(tile, now + std::chrono::seconds(1)));
    EXPECT_FALSE(failed.isHeldBack(tile, now + std::chrono::seconds(2)));
    EXPECT_FALSE(failed.isHeldBack({0, 3, 5}, now));
    for (const int seconds : {4, 8, 16, 32, 60, 60}) {
        EXPECT_EQ(failed.add(tile, now, isFirst), std::chrono::seconds(seconds));
        EXPECT_FALSE(isFirst) << "it is complained of once";
    }
    failed.forget(tile);  // it came after all
    EXPECT_FALSE(failed.isHeldBack(tile, now));
}

TEST(ViewTransform, FitShowsTheWholeImage) {
    const auto t = viewOf(100000, 20000);
    EXPECT_EQ(t.visibleImageRect(), QRectF(0, 0, 100000, 20000));
    EXPECT_LT(t.viewFromImage(QPointF(100000, 0)).x(), 800);
}

TEST(ViewTransform, ThereAndBackIsTheSamePoint) {
    auto t = viewOf(1e6, 1e6);
    t.goTo({987654.25, 123456.5}, 7);
    const QPointF back = t.imageFromView(t.viewFromImage(QPointF(987650, 123450)));
    EXPECT_NEAR(back.x(), 987650, 1e-6);
    EXPECT_NEAR(back.y(), 123450, 1e-6);
}

TEST(ViewTransform, ZoomKeepsThePointUnderThePointer) {
    auto t = viewOf(5000, 5000);
    const QPointF pointer(200, 450), before = t.imageFromView(pointer);
    t.zoom(3, pointer);
    EXPECT_NEAR(t.imageFromView(pointer).x(), before.x(), 1e-6);
    EXPECT_NEAR(t.imageFromView(pointer).y(), before.y(), 1e-6);
    t.zoom(1e9, pointer);
    EXPECT_LE(t.scale(), ViewTransform::kMaxScale);
}

TEST(ViewTransform, PanStaysOnTheImage) {
    auto t = viewOf(1000, 1000);
    t.pan({1e7, -1e7});
    EXPECT_EQ(t.centre(), QPointF(0, 1000));
}

TEST(ColorMaps, RunFromDarkToBright) {
    for (const auto& name : colorMapNames()) {
        const int low = colorAt(name, 0).lightness(), middle = colorAt(name, 0.5).lightness(),
                  high = colorAt(name, 1).lightness();
        if (name == "vik") {  // diverging: bright in the middle, two hues at the ends
            EXPECT_GT(middle, std::max(low, high) + 100);
            EXPECT_GT(std::abs(colorAt(name, 0).hue() - colorAt(name, 1).hue()), 90);
        } else {
            EXPECT_LT(low, high) << name.toStdString();
        }
    }
    EXPECT_EQ(colorAt("viridis", -5), colorAt("viridis", 0));
}

OverlayLayer layerOf(std::vector<float> values, OverlayLayer::Kind kind) {
    OverlayLayer layer;
    auto raster = std::make_shared<io::GridRaster>(static_cast<int>(values.size()), 1, 1);
    raster->values = std::move(values);
    raster->cellWidth = raster->cellHeight = 10;
    layer.raster = raster;
    layer.kind = kind;
    layer.colors = {QColor(255, 0, 0), QColor(0, 0, 255)};
    return layer;
}

TEST(OverlayLayer, IsClearWhereThereIsNoData) {
    const auto classes = layerOf({0, 1, NAN, 7}, OverlayLayer::Kind::Classes);
    EXPECT_EQ(classes.colorOf(0), QColor(255, 0, 0).rgba());
    EXPECT_EQ(classes.colorOf(1), QColor(0, 0, 255).rgba());
    EXPECT_EQ(qAlpha(classes.colorOf(NAN)), 0);
    EXPECT_EQ(qAlpha(classes.colorOf(7)), 0);
    EXPECT_EQ(classes.values(0, 0, 4, 1), (std::vector<float>{0, 1, OverlayLayer::kMissing, 7}));
    EXPECT_EQ(classes.colorStrip().width(), 2);
    EXPECT_TRUE(std::isnan(classes.valueAt(-1, 0)));
    EXPECT_EQ(classes.valueAt(15, 5), 1);
}

TEST(OverlayLayer, ThresholdHidesSmallValues) {
    auto layer = layerOf({0.1f, 0.5f, 0.9f}, OverlayLayer::Kind::Magnitude);
    layer.threshold = 0.4;
    EXPECT_EQ(qAlpha(layer.colorOf(0.1f)), 0);
    EXPECT_EQ(qAlpha(layer.colorOf(0.5f)), 255);
    const QRgb before = layer.colorOf(0.9f);
    layer.invert = true;
    EXPECT_EQ(layer.colorOf(0.9f), colorAt("viridis", 1 - 229 / 255.0).rgba());
    EXPECT_NE(layer.colorOf(0.9f), before);
    EXPECT_EQ(layer.colorStrip().pixel(0, 0), colorAt("viridis", 1).rgba());
}

TEST(ImageLook, LeavesItAloneUntilItIsAsked) {
    ImageLook look;
    EXPECT_EQ(look.apply(QColor(12, 130, 250)), QColor(12, 130, 250));
    look.channels[0].brightness = 0.2;
    EXPECT_EQ(look.apply(QColor(100, 100, 100)), QColor(151, 100, 100));
    look = {};
    for (auto& c : look.channels) c.gamma = 2;
    EXPECT_NEAR(look.apply(QColor(64, 64, 64)).red(), 128, 1);
}

TEST(ImageLook, SeparatesStains) {
    const auto vectors = StainVectors().vectors;
    const auto inverse = StainVectors().inverse();
    for (size_t i = 0; i < 3; ++i)  // the inverse is one
        for (size_t j = 0; j < 3; ++j) {
            double sum = 0;
            for (size_t k = 0; k < 3; ++k) sum += vectors[i][k] * inverse[k][j];
            EXPECT_NEAR(sum, i == j ? 1 : 0, 1e-9);
        }
    // A pixel of hematoxylin and eosin: each look shows that stain alone.
    const auto mixed = [&](double h, double e) {
        std::array<double, 3> c{};
        for (size_t i = 0; i < 3; ++i) c[i] = std::exp(-h * vectors[0][i] - e * vectors[1][i]);
        return QColor::fromRgbF(static_cast<float>(c[0]), static_cast<float>(c[1]),
                                static_cast<float>(c[2]));
    };
    const auto close = [](const QColor& a, const QColor& b) {
        EXPECT_NEAR(a.red(), b.red(), 3);
        EXPECT_NEAR(a.green(), b.green(), 3);
        EXPECT_NEAR(a.blue(), b.blue(), 3);
    };
    ImageLook look;
    look.stain = Stain::Hematoxylin;
    close(look.apply(mixed(0.9, 0.5)), mixed(0.9, 0));
    look.stain = Stain::Eosin;
    close(look.apply(mixed(0.9, 0.5)), mixed(0, 0.5));
}

TEST(ScaleBar, IsRoundAndFits) {
    EXPECT_DOUBLE_EQ(scaleBarLengthUm(0.5), 50);
    for (double um : {0.01, 0.3, 7.0, 12345.0}) {
        const double pixels = scaleBarLengthUm(um) / um;
        EXPECT_GE(pixels, 60);
        EXPECT_LE(pixels, 180);
    }
}

}  // namespace
}  // namespace atlas::ui
