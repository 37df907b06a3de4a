// SPDX-License-Identifier: Apache-2.0
// External attention as a choice of Atlas's blocks. What it computes is in the golden cases that
// golden_external.py makes; here: gradients, masks, configurations.
#include "engine/nn/external_attention.h"

#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/nn/atlas.h"
#include "engine/nn/atlas_cost.h"
#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

ExternalMemory randomMemory(int64_t headSize, int64_t slots) {
    return {{at::randn({slots, headSize}, at::kDouble), {}},
            {at::randn({headSize, slots}, at::kDouble), {}}};
}

TEST(ExternalAttention, GradientIsThatOfDifferences) {
    at::manual_seed(3);
    const ExternalMemory memory = randomMemory(4, 3);
    at::Tensor q = at::randn({3, 2, 6, 4}, at::kDouble);
    at::Tensor valid = at::ones({3, 6}, at::kBool);
    valid[0].slice(0, 2, 5).fill_(false);
    valid[1].fill_(false);  // a window without any token
    const at::Tensor weights = at::randn(q.sizes(), at::kDouble);
    const auto value = [&](const at::Tensor& x) {
        return (externalAttention(x, memory, valid).out * weights).sum();
    };
    at::Tensor x = q.clone().requires_grad_();
    value(x).backward();
    const at::Tensor gradient = x.grad();
    ASSERT_TRUE(gradient.isfinite().all().item<bool>());
    const at::NoGradGuard noGradient;
    for (int64_t i = 0; i < q.numel(); ++i) {
        const double step = 1e-5;
        at::Tensor more = q.clone(), less = q.clone();
        more.flatten()[i] += step;
        less.flatten()[i] -= step;
        const double expected = (value(more) - value(less)).item<double>() / (2 * step);
        ASSERT_NEAR(gradient.flatten()[i].item<double>(), expected, 1e-7) << i;
    }
    EXPECT_EQ(externalAttention(q, memory, valid).out[1].abs().max().item<double>(), 0);
}

TEST(ExternalAttention, EachSlotGivesItselfAwayOnce) {
    const int64_t slots = 7;
    const auto result =
        externalAttention(at::randn({5, 3, 16, 8}, at::kDouble), randomMemory(8, slots), {});
    EXPECT_LE((result.received.sum(1) - slots).abs().max().item<double>(), 1e-12);
}

const json kNetwork = {{"dim", 16},
                       {"num_classes", 3},
                       {"window_side", 8},
                       {"stages",
                        {{{"depth", 2},
                          {"num_heads", 2},
                          {"weight_sets", 2},
                          {"block_attention", {"external", "multi_scale"}},
                          {"memory_slots", 9}}}}};

TEST(ExternalAttention, ConfigurationsAreReadWrittenAndRefusedByName) {
    const AtlasConfig config = AtlasConfig::fromJson(kNetwork);
    EXPECT_EQ(config.stages[0].attentionOf(0), BlockAttention::External);
    EXPECT_EQ(config.stages[0].attentionOf(1), BlockAttention::MultiScale);
    EXPECT_EQ(AtlasConfig::fromJson(config.toJson()), config);
    const auto refuses = [](const char* key, const json& value, const std::string& word) {
        json wrong = kNetwork;
        wrong["stages"][0][key] = value;
        try {
            AtlasConfig::fromJson(wrong);
            FAIL() << word << " was not refused";
        } catch (const ModelError& error) {
            EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
        }
    };
    refuses("block_attention", {"external"}, "names 1 blocks of a stage of 2");
    refuses("block_attention", {"external", "none"}, "\"none\"");
    refuses("block_attention", 3, "network configuration");
    refuses("memory_slots", 0, "memory_slots");
}

TEST(ExternalAttention, BlocksHaveNoKeysAndCostLess) {
    AtlasConfig config = AtlasConfig::fromJson(kNetwork);
    const StateDict weights = initialAtlasWeights(config, 1);
    const std::string block = "atlas_models.0.levels.0.blocks.";
    EXPECT_EQ(weights.at(block + "0.memory.mk.weight").sizes(), at::IntArrayRef({9, 8}));
    EXPECT_EQ(weights.at(block + "0.memory.mv.weight").sizes(), at::IntArrayRef({8, 9}));
    EXPECT_FALSE(weights.contains(block + "0.blocks.0.attn.kv.weight"));
    EXPECT_TRUE(weights.contains(block + "1.blocks.0.attn.kv.weight"));
    EXPECT_FALSE(weights.contains(block + "1.memory.mk.weight"));
    const Atlas network(config, weights);  // neither a missing nor an extra name
    const double mixed = atlasCost(config, 256).attention;
    config.stages[0].blocks.clear();
    EXPECT_LT(mixed, 0.7 * atlasCost(config, 256).attention);
    EXPECT_THROW(Atlas(config, weights), ModelError);
}

}  // namespace
}  // namespace atlas::engine
