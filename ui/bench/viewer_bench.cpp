// SPDX-License-Identifier: Apache-2.0
#include "ui/bench/viewer_bench.h"

#include <QApplication>
#include <QElapsedTimer>
#include <QThread>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <thread>
#include <vector>

#include "engine/nn/machine.h"
#include "ui/viewer/canvas.h"

namespace atlas::ui {
namespace {

constexpr double kFrameMs = 1000.0 / 60;

/// Any source, each read a while later.
class SlowSource : public io::ImageSource {
  public:
    SlowSource(io::SourcePtr real, int delayMs) : real_(std::move(real)), delayMs_(delayMs) {}
    const io::ImageInfo& info() const override { return real_->info(); }
    io::RasterBlock readRegion(int level, const io::Rect& rect,
                               const std::vector<int>& bands) const override {
        std::this_thread::sleep_for(std::chrono::milliseconds(delayMs_));
        return real_->readRegion(level, rect, bands);
    }

  private:
    io::SourcePtr real_;
    int delayMs_;
};

/// Where the view is at a moment of 0 to 1: along a curve over the whole image, in and out.
struct Place {
    QPointF centre;
    double scale;
};
Place placeAt(double t, const QSizeF& image, double fit) {
    const double angle = 2 * std::numbers::pi * t;
    return {QPointF(image.width() * (0.5 + 0.35 * std::sin(angle)),
                    image.height() * (0.5 + 0.35 * std::sin(2 * angle + 0.5))),
            fit * std::exp2(3 + 3 * std::sin(3 * angle))};
}

QJsonObject summary(std::vector<double> ms) {
    std::sort(ms.begin(), ms.end());
    const auto at = [&](double share) {
        return ms[std::min(ms.size() - 1,
                           static_cast<size_t>(share * static_cast<double>(ms.size())))];
    };
    return {{"median", at(0.5)}, {"p99", at(0.99)}, {"max", ms.back()}};
}

std::vector<OverlayLayer> layersOver(const io::ImageInfo& info) {
    std::vector<OverlayLayer> layers;
    const auto& full = info.levels[0];
    for (const bool classes : {true, false}) {
        OverlayLayer l;
        l.id = classes ? "prediction" : "attention0";
        l.title = l.id;
        l.kind = classes ? OverlayLayer::Kind::Classes : OverlayLayer::Kind::Magnitude;
        const double cell = classes ? 1024 : 128;
        auto raster = std::make_shared<io::GridRaster>(
            std::clamp(static_cast<int>(static_cast<double>(full.width) / cell), 1, 4096),
            std::clamp(static_cast<int>(static_cast<double>(full.height) / cell), 1, 4096), 1);
        raster->cellWidth = static_cast<double>(full.width) / raster->width;
        raster->cellHeight = static_cast<double>(full.height) / raster->height;
        for (size_t i = 0; i < raster->values.size(); ++i)
            raster->values[i] = classes ? static_cast<float>(i * 7 % 5)
                                        : static_cast<float>((i * 31) % 1000) / 1000;
        l.raster = raster;
        l.colors = {Qt::red, Qt::green, Qt::blue, Qt::cyan, Qt::magenta};
        l.classNames = {"a", "b", "c", "d", "e"};
        l.opacity = 0.4;
        l.visible = true;
        layers.push_back(l);
    }
    return layers;
}

class Flight {
  public:
    Flight(io::SourcePtr source, const ViewerBenchOptions& options)
        : options_(options),
          cache_(std::make_shared<io::TileCache>(options.cacheBytes)),
          image_(std::make_shared<io::ColorSource>(source, io::defaultDisplay(source->info()),
                                                   cache_)) {
        canvas_.resize(options.width, options.height);
        canvas_.show();
        QApplication::processEvents();
        opened_.start();
        canvas_.setImage(image_, 1.0, true);
        canvas_.setLayers(layersOver(source->info()));
    }

    /// Milliseconds until anything of the image is drawn.
    double untilCoarse() {
        while (canvas_.tilesLoaded() == 0 && opened_.elapsed() < 20000)
            QApplication::processEvents();
        canvas_.repaint();
        return static_cast<double>(opened_.nsecsElapsed()) / 1e6;
    }

    /// Frame times over the flight, each from the wish to move until it is on the screen.
    std::vector<double> fly(int frames, double from = 0, double to = 1) {
        std::vector<double> times;
        for (int i = 0; i < frames; ++i) {
            const Place place =
                placeAt(from + (to - from) * i / frames, canvas_.transform().imageSize(),
                        canvas_.transform().fitScale());
            QElapsedTimer timer;
            timer.start();
            QApplication::processEvents();  // what arrived, as the event loop would
            canvas_.goTo(place.centre, place.scale);
            canvas_.repaint();
            const double ms = static_cast<double>(timer.nsecsElapsed()) / 1e6;
            times.push_back(ms);
            if (ms < kFrameMs) QThread::usleep(static_cast<unsigned long>((kFrameMs - ms) * 1000));
        }
        return times;
    }

    /// Milliseconds from standing still until every tile is sharp.
    double untilSharp(double t) {
        const Place place =
            placeAt(t, canvas_.transform().imageSize(), canvas_.transform().fitScale());
        QElapsedTimer timer;
        timer.start();
        canvas_.goTo(place.centre, place.scale);
        canvas_.repaint();
        while (!canvas_.settled() && timer.elapsed() < 5000) QApplication::processEvents();
        return static_cast<double>(timer.nsecsElapsed()) / 1e6;
    }

    void settle() {
        QElapsedTimer timer;
        timer.start();
        while (!canvas_.settled() && timer.elapsed() < 10000) QApplication::processEvents();
    }

    const Canvas& canvas() const { return canvas_; }
    size_t cached() const { return cache_->bytes(); }

  private:
    ViewerBenchOptions options_;
    std::shared_ptr<io::TileCache> cache_;
    std::shared_ptr<io::ColorSource> image_;
    Canvas canvas_;
    QElapsedTimer opened_;
};

double mib(double bytes) {
    return bytes / (1 << 20);
}

}  // namespace

QJsonObject benchViewer(const io::SourcePtr& source, const ViewerBenchOptions& options) {
    QJsonObject result{{"frames", options.frames}, {"delay_ms", options.delayMs}};
    {
        Flight flight(source, options);
        result["first_coarse"] = flight.untilCoarse();
        result["uploads_in_thread"] = flight.canvas().uploadsInThread();
        flight.settle();
        double worst = 0;
        for (double t : {0.11, 0.37, 0.52, 0.73, 0.94})
            worst = std::max(worst, flight.untilSharp(t));
        result["sharp"] = worst;
        // Everything at hand: the same path, until nothing new comes.
        flight.fly(options.frames);
        flight.settle();
        flight.fly(options.frames);
        flight.settle();
        result["cached"] = summary(flight.fly(options.frames));
    }
    {
        Flight flight(std::make_shared<SlowSource>(source, options.delayMs), options);
        result["slowed"] = summary(flight.fly(options.frames));
    }
    {
        Flight flight(source, options);
        flight.fly(options.frames);
        const auto before = engine::processMemory("VmRSS");
        flight.fly(options.frames, 0.5, 1.5);
        result["rss_growth_mib"] =
            mib(static_cast<double>(engine::processMemory("VmRSS") - before));
        result["texture_mib"] = mib(static_cast<double>(flight.canvas().textureBytes()));
        result["texture_budget_mib"] = mib(static_cast<double>(flight.canvas().textureBudget()));
        result["cache_mib"] = mib(static_cast<double>(flight.cached()));
        result["cache_budget_mib"] = mib(static_cast<double>(options.cacheBytes));
    }
    const double cached = result["cached"].toObject()["p99"].toDouble(),
                 slowed = result["slowed"].toObject()["p99"].toDouble();
    result["ratio_p99"] = slowed / cached;
    return result;
}

}  // namespace atlas::ui
