// SPDX-License-Identifier: Apache-2.0
#include "engine/training/dataset.h"

#include <algorithm>
#include <random>
#include <regex>

#include "io/image_archive.h"
#include "io/synthetic/scene.h"

namespace atlas::engine {
namespace {

class ArchiveDataset : public Dataset {
  public:
    explicit ArchiveDataset(const std::string& path) : archive_(path) {}
    size_t size() const override { return archive_.files().size(); }
    const std::vector<std::string>& classNames() const override { return archive_.classNames(); }
    Sample sample(size_t index, uint64_t, int64_t) const override {
        return {archive_.decode(index), archive_.files()[index].label, 1};
    }
    std::string fingerprint() const override { return archive_.fingerprint(); }

  private:
    io::ImageArchive archive_;
};

class SyntheticDataset : public Dataset {
  public:
    SyntheticDataset(std::string spec, uint64_t first, uint64_t last, size_t samples, bool natural,
                     int64_t side)
        : spec_(std::move(spec)),
          first_(first),
          last_(last),
          samples_(samples),
          natural_(natural),
          side_(side) {
        for (const auto& kind : io::SyntheticScene::classes()) names_.emplace_back(kind.name);
    }
    size_t size() const override { return samples_; }
    const std::vector<std::string>& classNames() const override { return names_; }
    std::string fingerprint() const override { return spec_; }
    std::vector<bool> arrangementOnly() const override {
        std::vector<bool> result;
        for (const auto& kind : io::SyntheticScene::classes())
            result.push_back(kind.arrangementOnly);
        return result;
    }

    Sample sample(size_t index, uint64_t epoch, int64_t asked) const override {
        const int64_t side = asked > 0 ? asked : side_;
        std::seed_seq sequence{static_cast<uint32_t>(first_), static_cast<uint32_t>(index),
                               static_cast<uint32_t>(epoch), static_cast<uint32_t>(natural_)};
        std::mt19937_64 random(sequence);
        const auto wanted = static_cast<int>(random() % io::SyntheticScene::kClasses);
        for (;;) {
            const io::SyntheticScene scene(first_ + random() % (last_ - first_ + 1));
            const auto place = [&] {
                const auto onGrid = static_cast<int64_t>(random() % 1000) * side;
                return natural_ ? onGrid : onGrid + static_cast<int64_t>(random() % 65) - 32;
            };
            const int64_t x = place(), y = place();
            if (!natural_ && scene.classAt(x + side / 2, y + side / 2) != wanted) continue;
            const auto shares = scene.shares(x, y, side, 32);
            const auto largest = std::max_element(shares.begin(), shares.end());
            const int label = static_cast<int>(largest - shares.begin());
            if (!natural_ && (label != wanted || *largest < kMinShare)) continue;
            Sample result{io::RasterBlock(static_cast<int>(side), static_cast<int>(side), 3, false),
                          label, *largest};
            scene.render(static_cast<double>(x), static_cast<double>(y), 1, static_cast<int>(side),
                         static_cast<int>(side), result.image.u8.data());
            std::fill(result.image.valid.begin(), result.image.valid.end(), uint8_t{1});
            return result;
        }
    }

  private:
    static constexpr double kMinShare = 0.6;
    std::string spec_;
    uint64_t first_, last_;
    size_t samples_;
    bool natural_;
    int64_t side_;
    std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Dataset> openDataset(const std::string& spec, int64_t side) {
    if (!spec.starts_with("synthetic:")) return std::make_unique<ArchiveDataset>(spec);
    static const std::regex pattern(
        "synthetic:(\\d{1,9})-(\\d{1,9}),samples=(\\d{1,7})(,natural)?");
    std::smatch parts;
    if (!std::regex_match(spec, parts, pattern) || std::stoull(parts[1]) > std::stoull(parts[2]))
        throw io::ReadError(spec + ": expected synthetic:FIRST-LAST,samples=N[,natural]");
    return std::make_unique<SyntheticDataset>(spec, std::stoull(parts[1]), std::stoull(parts[2]),
                                              std::stoull(parts[3]), parts[4].matched, side);
}

}  // namespace atlas::engine
