// SPDX-License-Identifier: Apache-2.0
// The streaming stem against the plain one in float64: odd sizes, narrow bands, panels, wanted
// tokens alone, going on from a row, every instruction set.
#include "engine/nn/cpu_stem.h"

#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/atlas.h"
#include "engine/nn/device_stem.h"

namespace atlas::engine {
namespace {

AtlasConfig smallConfig(int64_t first, int64_t width) {
    AtlasConfig config;
    config.stemFirstWidth = first;
    config.stemWidth = width;
    config.dim = 4 * width;
    config.numClasses = 2;
    config.stages = {AtlasStageConfig{}};
    return config;
}

/// Random weights under which no layer is the identity.
StateDict stemWeights(const AtlasConfig& config, at::ScalarType type) {
    StateDict weights;
    const std::string prefix = "atlas_models.0.patch_embed.";
    for (const auto& [name, tensor] : initialAtlasWeights(config, 3)) {
        if (!name.starts_with(prefix)) continue;
        at::Tensor t = tensor;
        if (name.ends_with("running_var"))
            t = at::rand(tensor.sizes()) + 0.5;
        else if (tensor.dim() == 1 && tensor.is_floating_point())
            t = tensor + at::randn(tensor.sizes()) * 0.2;
        weights[name.substr(prefix.size())] = t.is_floating_point() ? t.to(type) : t;
    }
    return weights;
}

struct Pair {
    AtlasConfig config;
    StateDict weights;
    explicit Pair(AtlasConfig c) : config(c), weights(stemWeights(c, at::kFloat)) {}

    at::Tensor expected(const at::Tensor& image) const {
        StateDict wide;
        for (const auto& [name, t] : weights)
            wide[name] = t.is_floating_point() ? t.to(at::kDouble) : t;
        WeightReader reader(wide);
        AtlasStem stem(reader, "", config);
        reader.finish("stem");
        return stem.forward(image.to(at::kDouble), {}, nullptr).permute({0, 2, 3, 1});
    }
    AtlasStem folded() const {
        WeightReader reader(weights);
        AtlasStem stem(reader, "", config);
        stem.fold();
        return stem;
    }
    CpuStem stream(const CpuKernels* kernels = nullptr) const {
        return CpuStem(folded(), config, kernels);
    }
};

double gap(const at::Tensor& mine, const at::Tensor& expected) {
    return ((mine.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

TEST(CpuStem, EqualsThePlainStem) {
    const at::NoGradGuard noGradient;
    const Pair pair(smallConfig(16, 20));  // 20: channels that need padding
    for (const auto& [h, w] :
         {std::pair<int64_t, int64_t>{256, 256}, {130, 90}, {33, 301}, {7, 5}}) {
        const at::Tensor image = at::randn({2, 3, h, w});
        const at::Tensor expected = pair.expected(image);
        for (const int64_t band : {0, 16, 80}) {
            StemOptions options;
            options.bandRows = band;
            const at::Tensor mine = pair.stream().forward(image, options);
            ASSERT_EQ(mine.sizes(), expected.sizes());
            EXPECT_LE(gap(mine, expected), 2e-5) << h << " x " << w << ", bands of " << band;
        }
    }
}

TEST(CpuStem, EveryInstructionSetAgrees) {
    const at::NoGradGuard noGradient;
    const Pair pair(smallConfig(64, 48));
    const at::Tensor image = at::randn({1, 3, 100, 180});
    const at::Tensor expected = pair.expected(image);
    for (const auto* kernels : usableCpuKernels())
        EXPECT_LE(gap(pair.stream(kernels).forward(image), expected), 2e-5) << kernels->name;
}

TEST(CpuStem, PanelsOfAWideImageMeetExactly) {
    const at::NoGradGuard noGradient;
    const Pair pair(smallConfig(16, 16));
    const at::Tensor image = at::randn({1, 3, 64, 1500});
    StemOptions options;
    options.bandBytes = 1;  // the narrowest panels
    EXPECT_LE(gap(pair.stream().forward(image, options), pair.expected(image)), 2e-5);
}

TEST(CpuStem, Bfloat16IsClose) {
    const at::NoGradGuard noGradient;
    const Pair pair(smallConfig(16, 20));
    const at::Tensor image = at::randn({1, 3, 90, 130});
    StemOptions options;
    options.bf16 = true;
    options.bandRows = 16;
    EXPECT_LE(gap(pair.stream().forward(image, options), pair.expected(image)), 2e-2);
}

/// Streams `image` by hand; tokens that never arrive stay NaN.
at::Tensor stream(const StemRunner& stem, const at::Tensor& image, int64_t dim,
                  const uint8_t* wanted, int64_t firstTokenRow, StemOptions options,
                  int64_t* pixelsRead) {
    const int64_t h = image.size(2), w = image.size(3);
    at::Tensor tokens = at::full({1, (h + 15) / 16, (w + 15) / 16, dim}, NAN);
    StemImage source;
    source.height = h;
    source.width = w;
    source.wanted = wanted;
    source.firstTokenRow = firstTokenRow;
    source.pixels = [&](int64_t row, int64_t rows, int64_t column, int64_t columns, float* out,
                        int64_t outRow) {
        *pixelsRead += rows * columns;
        at::Tensor target = at::from_blob(out, {rows, columns, 3}, {outRow, 3, 1}, at::kFloat);
        target.copy_(image[0]
                         .slice(1, row, row + rows)
                         .slice(2, column, column + columns)
                         .permute({1, 2, 0}));
    };
    source.tokens = [&](int64_t row, int64_t column, const at::Tensor& some) {
        tokens[0]
            .slice(0, row, row + some.size(0))
            .slice(1, column, column + some.size(1))
            .copy_(some);
    };
    stem.run(source, options);
    return tokens;
}

TEST(CpuStem, EachPixelIsReadOnceAndUnwantedTokensDoNotMatter) {
    const at::NoGradGuard noGradient;
    const Pair pair(smallConfig(16, 16));
    const at::Tensor image = at::randn({1, 3, 400, 610});
    const at::Tensor expected = pair.expected(image);
    at::Tensor wanted = at::zeros({25, 39}, at::kByte);
    wanted[3][2] = 1;
    wanted.slice(0, 18, 23).slice(1, 30, 39).fill_(1);
    int64_t read = 0;
    const at::Tensor mine = stream(pair.stream(), image, pair.config.dim,
                                   wanted.const_data_ptr<uint8_t>(), 0, {.bandRows = 32}, &read);
    EXPECT_EQ(read, 400 * 610);
    const at::Tensor chosen = wanted.to(at::kBool).unsqueeze(0).unsqueeze(-1);
    EXPECT_LE(gap(mine.masked_fill(chosen.logical_not(), 0),
                  expected.masked_fill(chosen.logical_not(), 0)),
              2e-5);
}

TEST(CpuStem, GoesOnFromARow) {
    const at::NoGradGuard noGradient;
    const Pair pair(smallConfig(16, 16));
    const at::Tensor image = at::randn({1, 3, 500, 200});
    int64_t read = 0;
    const at::Tensor whole =
        stream(pair.stream(), image, pair.config.dim, nullptr, 0, {.bandRows = 64}, &read);
    for (const int64_t from : {1, 6, 7, 20, 31}) {
        const at::Tensor rest =
            stream(pair.stream(), image, pair.config.dim, nullptr, from, {.bandRows = 64}, &read);
        EXPECT_TRUE(rest.slice(1, 0, from).isnan().all().item<bool>());
        EXPECT_LE(gap(rest.slice(1, from), whole.slice(1, from).to(at::kDouble)), 1e-6) << from;
    }
}

/// With the processor as the device, in tiles as small as they get.
class DeviceStemTest : public testing::Test {
  protected:
    const at::NoGradGuard noGradient;
    const Pair pair{smallConfig(16, 16)};
    const DeviceStem stem{pair.folded(), pair.config};
    int64_t read = 0;
};

TEST_F(DeviceStemTest, TilesMeetExactlyAndEachPixelIsReadOnce) {
    for (const auto& [h, w] :
         {std::pair<int64_t, int64_t>{400, 610}, {16, 16}, {5, 700}, {513, 33}, {129, 128}}) {
        SCOPED_TRACE(std::to_string(h) + " x " + std::to_string(w));
        const at::Tensor image = at::randn({1, 3, h, w});
        read = 0;
        const at::Tensor mine =
            stream(stem, image, pair.config.dim, nullptr, 0, {.tileBytes = 1}, &read);
        EXPECT_LE(gap(mine, pair.expected(image)), 1e-5);
        EXPECT_EQ(read, h * w);
    }
}

TEST_F(DeviceStemTest, OneTileIsEnoughWhereThereIsRoom) {
    const at::Tensor image = at::randn({1, 3, 300, 250});
    const at::Tensor mine = stream(stem, image, pair.config.dim, nullptr, 0, {}, &read);
    EXPECT_LE(gap(mine, pair.expected(image)), 1e-5);
}

TEST_F(DeviceStemTest, PanelsOfAWideImageMeetExactly) {
    const at::Tensor image = at::randn({1, 3, 300, 1300});
    const at::Tensor mine = stream(stem, image, pair.config.dim, nullptr, 0,
                                   {.bandBytes = 1 << 20, .tileBytes = 1}, &read);
    EXPECT_LE(gap(mine, pair.expected(image)), 1e-5);
    EXPECT_GT(read, 300 * 1300);  // the columns where panels overlap
    EXPECT_LT(read, 3 * 300 * 1300);
}

TEST_F(DeviceStemTest, UnwantedTokensDoNotMatterAndRunsGoOnFromARow) {
    const at::Tensor image = at::randn({1, 3, 400, 610});
    const at::Tensor expected = pair.expected(image);
    at::Tensor wanted = at::zeros({25, 39}, at::kByte);
    wanted[3][2] = 1;
    wanted.slice(0, 18, 23).slice(1, 30, 39).fill_(1);
    const at::Tensor mine = stream(stem, image, pair.config.dim, wanted.const_data_ptr<uint8_t>(),
                                   0, {.tileBytes = 1}, &read);
    const at::Tensor left = wanted.to(at::kBool).unsqueeze(0).unsqueeze(-1).logical_not();
    EXPECT_LE(gap(mine.masked_fill(left, 0), expected.masked_fill(left, 0)), 1e-5);
    EXPECT_EQ(mine[0][13][20].abs().max().item<float>(), 0) << "a tile that nobody wants was run";
    for (const int64_t from : {1, 6, 7, 20, 24}) {
        const at::Tensor rest =
            stream(stem, image, pair.config.dim, nullptr, from, {.tileBytes = 1}, &read);
        EXPECT_TRUE(rest.slice(1, 0, from).isnan().all().item<bool>());
        EXPECT_LE(gap(rest.slice(1, from), expected.slice(1, from)), 1e-5) << from;
    }
}

}  // namespace
}  // namespace atlas::engine
