// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/attention_record.h"

namespace atlas::engine {
namespace {

void add(const TokenScale& layout, int64_t slot, const float* values, float* map) {
    for (int64_t t = 0; t < layout.tokens(); ++t) map[placeOf(layout, slot, t)] += values[t];
}

}  // namespace

std::string AttentionRecord::pairName(const char* what, int64_t q, int64_t k) const {
    return std::string("attention.") + what + ".q" + std::to_string(first + q) + ".k" +
           std::to_string(first + k);
}

float* AttentionRecord::map(const std::string& name, int64_t over) const {
    auto& map = (*trace)[prefix + name];
    const auto& g = layout(over).geometry;
    const auto images = static_cast<int64_t>(layout(over).map.size()) / (g.side * g.side);
    if (!map.defined()) map = at::zeros({images, g.side, g.side}, at::kFloat);
    return map.data_ptr<float>();
}

void AttentionRecord::makeMaps(int64_t q) const {
    const auto scales = static_cast<int64_t>(layouts->size()) - first;
    for (int64_t k = q; k < scales; ++k) {
        map(pairName("mass", q, k), q);
        map(pairName("received", q, k), k);
    }
}

void AttentionRecord::addMass(int64_t q, int64_t k, int64_t slot, const float* values) const {
    const TokenScale& over = layout(q);
    float* sums = map(pairName("mass", q, k), q);
    const uint8_t* valid = over.validOf(slot);
    for (int64_t t = 0; t < over.tokens(); ++t)
        if (!valid || valid[t]) sums[placeOf(over, slot, t)] += values[t];
}

void AttentionRecord::addReceived(int64_t q, int64_t k, int64_t slot, const float* values) const {
    const TokenScale& over = layout(k);
    add(over, slot, values, map(pairName(q > k ? "received_up" : "received", q, k), k));
    add(over, slot, values, map("attention.received_total.k" + std::to_string(first + k), k));
}

void AttentionRecord::setProbe(int64_t k, int64_t slot, const float* values) const {
    const TokenScale& over = layout(k);
    float* weights = map("probe.k" + std::to_string(first + k), k);
    for (int64_t t = 0; t < over.tokens(); ++t) weights[placeOf(over, slot, t)] = values[t];
}

}  // namespace atlas::engine
