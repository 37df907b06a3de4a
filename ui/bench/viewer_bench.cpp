// SPDX-License-Identifier: Apache-2.0
#include "ui/bench/viewer_bench.h"

#include <QApplication>
#include <QElapsedTimer>
#include <QJsonArray>
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

/// The time that is left, what was not reached in it, and who is told how it goes.
class Budget {
  public:
    explicit Budget(const ViewerBenchOptions& options) : options_(options) { clock_.start(); }
    /// Milliseconds for a part when so many of equal length are to come, at most `most`.
    double share(int parts, double most = 1e12) const {
        const double left =
            1000 * options_.limitSeconds - static_cast<double>(clock_.nsecsElapsed()) / 1e6;
        return std::clamp(left / parts, 0.0, most);
    }
    void say(const QString& line) {
        options_.progress(QString("%1 s: %2").arg(clock_.elapsed() / 1000).arg(line));
        said_.start();
    }
    void sayEachSecond(const QString& line) {
        if (!said_.isValid() || said_.elapsed() >= 1000) say(line);
    }
    void miss(const QString& what) {
        say("not reached: " + what);
        missed_.append(what);
    }
    const QJsonArray& missed() const { return missed_; }

  private:
    const ViewerBenchOptions& options_;
    QElapsedTimer clock_, said_;
    QJsonArray missed_;
};

class Flight {
  public:
    Flight(io::SourcePtr source, const ViewerBenchOptions& options, Budget& budget)
        : options_(options),
          budget_(budget),
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

    /// Milliseconds until anything of the image is drawn; nothing where that takes longer than
    /// `most`.
    QJsonValue untilCoarse(double most) {
        if (!wait("the first picture", most, [this] { return canvas_.tilesLoaded() > 0; }))
            return {};
        canvas_.repaint();
        return static_cast<double>(opened_.nsecsElapsed()) / 1e6;
    }

    /// Frame times over the flight, each from the wish to move until it is on the screen; fewer
    /// frames, at least one, where they take longer than `most` milliseconds.
    std::vector<double> fly(const QString& what, double most, int frames, double from = 0,
                            double to = 1) {
        std::vector<double> times;
        QElapsedTimer all;
        all.start();
        for (int i = 0; i < frames; ++i) {
            const QString line = QString("%1, %2 of %3 frames").arg(what).arg(i).arg(frames);
            if (i > 0 && static_cast<double>(all.elapsed()) > most) {
                budget_.miss(line);
                break;
            }
            budget_.sayEachSecond(line);
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

    /// Milliseconds from standing still until every tile is sharp; nothing after `most`.
    QJsonValue untilSharp(double t, double most) {
        const Place place =
            placeAt(t, canvas_.transform().imageSize(), canvas_.transform().fitScale());
        QElapsedTimer timer;
        timer.start();
        canvas_.goTo(place.centre, place.scale);
        canvas_.repaint();
        if (!wait("a sharp picture after a jump", most, [this] { return canvas_.settled(); }))
            return {};
        return static_cast<double>(timer.nsecsElapsed()) / 1e6;
    }

    void settle(double most) {
        wait("every tile of the view", most, [this] { return canvas_.settled(); });
    }

    const Canvas& canvas() const { return canvas_; }
    size_t cached() const { return cache_->bytes(); }

  private:
    /// Leaves the processor to those who load; false, and a word about it, after `most` ms.
    bool wait(const QString& what, double most, const std::function<bool()>& there) {
        QElapsedTimer timer;
        timer.start();
        while (!there()) {
            if (static_cast<double>(timer.elapsed()) >= most) {
                budget_.miss(QString("%1 within %2 s").arg(what).arg(most / 1000, 0, 'f', 1));
                return false;
            }
            budget_.sayEachSecond("waiting for " + what);
            QApplication::processEvents();
            QThread::usleep(500);
        }
        return true;
    }

    ViewerBenchOptions options_;
    Budget& budget_;
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
    constexpr double kCoarse = 20000, kSharp = 5000, kSettle = 10000;  // ms at most, of each
    constexpr int kFlights = 6;
    Budget budget(options);
    QJsonObject result{{"frames", options.frames},
                       {"delay_ms", options.delayMs},
                       {"limit_s", options.limitSeconds}};
    int left = kFlights;  // each has the same part of the time that is left
    const auto fly = [&](Flight& flight, const char* what, double from = 0, double to = 1) {
        return flight.fly(what, budget.share(left--), options.frames, from, to);
    };
    {
        Flight flight(source, options, budget);
        result["first_coarse"] = flight.untilCoarse(budget.share(2, kCoarse));
        result["uploads_in_thread"] = flight.canvas().uploadsInThread();
        flight.settle(budget.share(kFlights, kSettle));
        QJsonValue worst = 0.0;
        for (double t : {0.11, 0.37, 0.52, 0.73, 0.94}) {
            const auto sharp = flight.untilSharp(t, budget.share(2 * kFlights, kSharp));
            if (sharp.isNull() || worst.isNull())
                worst = QJsonValue();
            else
                worst = std::max(worst.toDouble(), sharp.toDouble());
        }
        result["sharp"] = worst;
        // Everything at hand: the same path, until nothing new comes.
        fly(flight, "first flight");
        flight.settle(budget.share(left, kSettle));
        fly(flight, "second flight");
        flight.settle(budget.share(left, kSettle));
        result["cached"] = summary(fly(flight, "flight with everything at hand"));
    }
    {
        Flight flight(std::make_shared<SlowSource>(source, options.delayMs), options, budget);
        result["slowed"] = summary(fly(flight, "flight with late tiles"));
    }
    {
        Flight flight(source, options, budget);
        fly(flight, "first half of the long flight");
        const auto before = engine::processMemory("VmRSS");
        fly(flight, "second half of the long flight", 0.5, 1.5);
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
    result["not_reached"] = budget.missed();
    return result;
}

}  // namespace atlas::ui
