// SPDX-License-Identifier: Apache-2.0
// The viewer's mathematics and colours, without a screen.
#include <gtest/gtest.h>

#include <cmath>

#include "ui/result_layers.h"
#include "ui/viewer/color_maps.h"
#include "ui/viewer/decorations.h"
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
    const QImage picture = classes.picture(0, 0, 4, 1);
    EXPECT_EQ(picture.pixelColor(0, 0), QColor(255, 0, 0));
    EXPECT_EQ(picture.pixelColor(1, 0), QColor(0, 0, 255));
    EXPECT_EQ(picture.pixelColor(2, 0).alpha(), 0);
    EXPECT_EQ(picture.pixelColor(3, 0).alpha(), 0);
    EXPECT_TRUE(std::isnan(classes.valueAt(-1, 0)));
    EXPECT_EQ(classes.valueAt(15, 5), 1);
}

TEST(OverlayLayer, ThresholdHidesSmallValues) {
    auto layer = layerOf({0.1f, 0.5f, 0.9f}, OverlayLayer::Kind::Magnitude);
    layer.threshold = 0.4;
    const QImage picture = layer.picture(0, 0, 3, 1);
    EXPECT_EQ(picture.pixelColor(0, 0).alpha(), 0);
    EXPECT_EQ(picture.pixelColor(1, 0).alpha(), 255);
    EXPECT_EQ(picture.pixel(2, 0), layer.colorOf(0.9f));
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
