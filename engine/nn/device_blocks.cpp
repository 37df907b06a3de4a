// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device_blocks.h"

#include <ATen/DeviceAccelerator.h>

#include <algorithm>
#include <limits>
#include <unordered_map>

#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/nn/autocast.h"
#include "engine/nn/device.h"
#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int64_t kFloat = sizeof(float);
constexpr int64_t kLeastChunk = int64_t{16} << 20, kMostChunk = int64_t{2} << 30;  // bytes
constexpr int64_t kMostWindows = 4096;                                             // a call

template <typename T>
at::Tensor onDevice(const std::vector<T>& values, at::ScalarType type, const at::Device& device) {
    return at::from_blob(const_cast<T*>(values.data()), {static_cast<int64_t>(values.size())}, type)
        .clone()
        .to(device);
}

at::Tensor onlyValid(const at::Tensor& tokens, const at::Tensor& valid) {
    if (!valid.defined()) return tokens;
    return tokens.masked_fill(valid.logical_not().unsqueeze(-1), 0);
}

at::Tensor onHost(const at::Tensor& values) {
    return values.to(at::kCPU, at::kFloat).contiguous();
}

/// Tokens of the next coarser scale over each window of `fine`.
std::vector<int64_t> listTiles(const TokenScale& fine, const TokenScale& coarse) {
    const int64_t side = coarse.geometry.side / fine.geometry.rows;
    std::vector<int64_t> tokens;
    for (const auto& w : fine.windows) {
        const TokenTile tile = coarse.tile(w.image, w.row, w.column, side);
        for (int64_t y = 0; y < side; ++y)
            for (int64_t x = 0; x < side; ++x)
                tokens.push_back(tile.slot * coarse.tokens() +
                                 (tile.row + y) * coarse.geometry.window + tile.column + x);
    }
    return tokens;
}

}  // namespace

DeviceBlocks::DeviceBlocks(const Atlas& network, bool bf16)
    : network_(network), device_(network.fc().weight.device()), bf16_(bf16) {}

int64_t DeviceBlocks::stride() const {
    return paddedChannels(network_.config().dim);  // as the processor, whose files these may be
}

const AtlasBlock& DeviceBlocks::block(BlockId id) const {
    return network_.stages()[id.stage].blocks()[id.block];
}

const AtlasBlock::WeightSet& DeviceBlocks::set(BlockId id, size_t i) const {
    const auto& sets = block(id).sets();
    return sets[std::min(i, sets.size() - 1)];
}

at::Tensor DeviceBlocks::position(BlockId id, size_t i) const {
    return block(id).cachedPosition(static_cast<int64_t>(i), scales_[i].layout->geometry.window);
}

/// [n, tokens, dim] -> [n, heads, tokens, d].
at::Tensor DeviceBlocks::heads(BlockId id, const at::Tensor& x) const {
    const int64_t heads = block(id).heads();
    return x.unflatten(-1, {heads, x.size(-1) / heads}).transpose(1, 2);
}

std::pair<at::Tensor, at::Tensor> DeviceBlocks::keysAndValues(BlockId id,
                                                              const at::Tensor& both) const {
    const int64_t dim = both.size(-1) / 2;
    return {heads(id, both.slice(-1, 0, dim)), heads(id, both.slice(-1, dim))};
}

// ---- Memory -----------------------------------------------------------------------------------

DeviceBlocks::Room DeviceBlocks::roomFor(const std::vector<TokenScale>& layouts) const {
    Room room;
    room.all = deviceBytes_ > 0 ? deviceBytes_ : freeMemory(device_);
    for (size_t s = 0; s < layouts.size(); ++s) {
        const int64_t bytes =
            layouts[s].slots() * layouts[s].tokens() * network_.config().dim * kFloat;
        if (s == 0)
            room.finest = bytes;
        else
            room.coarse += 4 * bytes;  // tokens, maxima, keys and values
    }
    return room;
}

bool DeviceBlocks::Room::fits(int64_t bytes) const {
    return coarse + bytes + std::min(kMostChunk, all / 4) <= all;
}

bool DeviceBlocks::holdsFinest(const std::vector<TokenScale>& layouts) const {
    const Room room = roomFor(layouts);
    return room.fits(bf16_ ? room.finest / 2 : room.finest);
}

void DeviceBlocks::begin(const std::vector<TokenScale>& layouts, float* finest) {
    const Room room = roomFor(layouts);
    const bool halved = bf16_ && !room.fits(room.finest);
    const int64_t rest = room.all - room.coarse -
                         (finest   ? 0
                          : halved ? room.finest / 2
                                   : room.finest);
    chunkBytes_ = std::clamp(rest / 2, kLeastChunk, kMostChunk);
    scales_.clear();
    chunk_ = {};
    finest_ = finest;
    const auto floats = at::TensorOptions().dtype(at::kFloat).device(device_);
    for (size_t s = 0; s < layouts.size(); ++s) {
        const TokenScale& layout = layouts[s];
        Scale scale;
        scale.layout = &layout;
        const std::vector<int64_t> shape{layout.slots(), layout.tokens(), network_.config().dim};
        if (s > 0 || !finest)
            scale.tokens =
                at::zeros(shape, s == 0 && halved ? floats.dtype(at::kBFloat16) : floats);
        if (s > 0) scale.pooled = at::zeros(shape, floats);
        if (std::find(layout.partial.begin(), layout.partial.end(), 1) != layout.partial.end())
            scale.valid = onDevice(layout.valid, at::kByte, device_)
                              .view({layout.slots(), layout.tokens()})
                              .to(at::kBool);
        if (s + 1 < layouts.size())
            scale.tiles = onDevice(listTiles(layout, layouts[s + 1]), at::kLong, device_);
        scales_.push_back(std::move(scale));
    }
}

void DeviceBlocks::writeFinestTo(float* finest) {
    finest_ = finest;
    chunk_ = {};
}

void DeviceBlocks::dropFinest() {
    scales_.erase(scales_.begin());
    scales_[0].pooled = scales_[0].shared = at::Tensor();
    finest_ = nullptr;
    chunk_ = {};
}

void DeviceBlocks::end() {
    scales_.clear();
    chunk_ = {};
    finest_ = nullptr;
    if (at::accelerator::isAccelerator(device_.type())) try {
            at::accelerator::emptyCache();
        } catch (const std::exception&) {  // a broken device says so at its next use
        }
}

int64_t DeviceBlocks::windowsAtOnce(size_t i) const {
    // Of a window: tokens, normalised, q, k, v, attended, the MLP's layer twice, parents' keys.
    double hidden = 0;
    for (const auto& stage : network_.config().stages) hidden = std::max(hidden, stage.mlpRatio);
    const auto copies =
        static_cast<int64_t>(8 + 2 * hidden) + 4 * static_cast<int64_t>(scales_.size());
    const int64_t window = scales_[i].layout->tokens() * network_.config().dim * kFloat * copies;
    return std::clamp<int64_t>(chunkBytes_ / window, 1, kMostWindows);
}

at::Tensor DeviceBlocks::upload(const float* from, size_t i, int64_t windows) const {
    const int64_t tokens = scales_[i].layout->tokens();
    return at::from_blob(const_cast<float*>(from), {windows, tokens, network_.config().dim},
                         {tokens * stride(), stride(), 1}, at::TensorOptions().dtype(at::kFloat))
        .contiguous()
        .to(device_, at::kFloat, /*non_blocking=*/false, /*copy=*/device_.is_cpu());
}

/// On the device, from there or from the host's memory (`source`, or where they are written to).
at::Tensor DeviceBlocks::windows(size_t i, int64_t from, int64_t to, const float* source) const {
    if (scales_[i].tokens.defined()) return scales_[i].tokens.slice(0, from, to).to(at::kFloat);
    const int64_t each = scales_[i].layout->tokens() * stride();
    if (source) return upload(source + from * each, i, to - from);
    if (chunk_.from != from || chunk_.to != to)
        chunk_ = {from, to, upload(finest_ + from * each, i, to - from)};
    return chunk_.tokens;
}

void DeviceBlocks::write(size_t i, int64_t from, int64_t to, const at::Tensor& tokens) {
    if (scales_[i].tokens.defined()) {
        scales_[i].tokens.slice(0, from, to).copy_(tokens);
        return;
    }
    chunk_ = {from, to, tokens};
    save(i, from, to, finest_ + from * scales_[i].layout->tokens() * stride());
}

at::Tensor DeviceBlocks::tokens(size_t i, int64_t from, int64_t to) const {
    return windows(i, from, to);
}

void DeviceBlocks::save(size_t i, int64_t from, int64_t to, float* out) const {
    const int64_t tokens = scales_[i].layout->tokens(), dim = network_.config().dim;
    if (stride() != dim) std::fill_n(out, (to - from) * tokens * stride(), 0.0f);
    at::from_blob(out, {to - from, tokens, dim}, {tokens * stride(), stride(), 1},
                  at::TensorOptions().dtype(at::kFloat))
        .copy_(windows(i, from, to));
}

void DeviceBlocks::load(size_t i, int64_t from, int64_t to, const float* in) {
    if (scales_[i].tokens.defined())
        scales_[i].tokens.slice(0, from, to).copy_(upload(in, i, to - from));
    else
        std::copy_n(in, (to - from) * scales_[i].layout->tokens() * stride(),
                    finest_ + from * scales_[i].layout->tokens() * stride());
    chunk_ = {};
}

void DeviceBlocks::place(int64_t image, int64_t row, int64_t column, const at::Tensor& tokens) {
    const TokenScale& layout = *scales_[0].layout;
    if (!scales_[0].tokens.defined()) {
        placeTokens(layout, image, row, column, onHost(tokens), finest_, stride());
        chunk_ = {};
        return;
    }
    const int64_t w = layout.geometry.window, n = layout.geometry.side;
    std::vector<int64_t> from, to;
    for (int64_t y = row; y < row + tokens.size(0); ++y)
        for (int64_t x = column; x < column + tokens.size(1); ++x) {
            if (!layout.map[static_cast<size_t>((image * n + y) * n + x)]) continue;
            from.push_back((y - row) * tokens.size(1) + x - column);
            to.push_back(layout.slot(image, y / w, x / w) * layout.tokens() + y % w * w + x % w);
        }
    if (from.empty()) return;
    const at::Tensor some = tokens.to(device_, scales_[0].tokens.scalar_type())
                                .flatten(0, 1)
                                .index_select(0, onDevice(from, at::kLong, device_));
    scales_[0].tokens.flatten(0, 1).index_copy_(0, onDevice(to, at::kLong, device_), some);
}

// ---- Between scales ---------------------------------------------------------------------------

at::Tensor DeviceBlocks::validOf(size_t i, int64_t from, int64_t to) const {
    const auto& partial = scales_[i].layout->partial;
    if (std::find(partial.begin() + from, partial.begin() + to, 1) == partial.begin() + to)
        return {};
    return scales_[i].valid.slice(0, from, to);
}

at::Tensor DeviceBlocks::tilesOf(size_t i, int64_t from, int64_t to) const {
    const int64_t tile = scales_[i].tiles.size(0) / scales_[i].layout->slots();
    return scales_[i].tiles.slice(0, from * tile, to * tile);
}

/// [n, tokens, dim] -> [n * tile, dim]; the lowest number where no token is valid.
at::Tensor DeviceBlocks::maxima(size_t i, int64_t from, int64_t to,
                                const at::Tensor& tokens) const {
    const int64_t r = network_.config().poolRatio, across = scales_[i].layout->geometry.window / r,
                  dim = tokens.size(2);
    at::Tensor x = tokens;
    if (const at::Tensor valid = validOf(i, from, to); valid.defined())
        x = x.masked_fill(valid.logical_not().unsqueeze(-1), kLowest);
    return x.reshape({to - from, across, r, across, r, dim}).amax({2, 4}).reshape({-1, dim});
}

void DeviceBlocks::poolTokens(size_t i, int64_t from, int64_t to) {
    scales_[i + 1].tokens.flatten(0, 1).index_copy_(0, tilesOf(i, from, to),
                                                    maxima(i, from, to, windows(i, from, to)));
}

void DeviceBlocks::pool(BlockId block, size_t i, int64_t from, int64_t to) {
    at::Tensor x = windows(i, from, to);
    if (i == 0) x = x + position(block, i);
    scales_[i + 1].pooled.flatten(0, 1).index_copy_(0, tilesOf(i, from, to),
                                                    maxima(i, from, to, x));
}

void DeviceBlocks::clearInvalid(size_t i) {
    if (scales_[i].valid.defined())
        scales_[i].tokens.masked_fill_(scales_[i].valid.logical_not().unsqueeze(-1), 0);
}

void DeviceBlocks::enter(BlockId block, size_t i) {
    scales_[i].tokens.add_(position(block, i)).add_(scales_[i].pooled);
    clearInvalid(i);
}

std::vector<AttentionFlow::Edge> DeviceBlocks::poolEdges(const BlockId*, size_t) const {
    throw ModelError("attention is followed back on the processor alone");
}

// ---- Blocks -----------------------------------------------------------------------------------

DeviceBlocks::Parents DeviceBlocks::parentsOf(size_t i, size_t t, int64_t from, int64_t to) const {
    const TokenScale &fine = *scales_[i].layout, &coarse = *scales_[t].layout;
    Parents parents;
    std::unordered_map<int64_t, int32_t> known;
    for (int64_t slot = from; slot < to; ++slot) {
        const auto& w = fine.windows[static_cast<size_t>(slot)];
        const int64_t parent =
            parentWindow(w.row * fine.geometry.rows + w.column, fine.geometry.rows,
                         coarse.geometry.rows, network_.config().mapping);
        const int64_t place =
            coarse.slot(w.image, parent / coarse.geometry.rows, parent % coarse.geometry.rows);
        const auto [found, isNew] =
            known.try_emplace(place, static_cast<int32_t>(parents.slots.size()));
        if (isNew) parents.slots.push_back(place);
        parents.indexOfEach.push_back(found->second);
    }
    return parents;
}

/// Keys and values of those windows of scale `t`. A parent without valid tokens has no key.
KeySegment DeviceBlocks::segmentOf(BlockId id, size_t t, const Parents& parents) const {
    const TokenScale& layout = *scales_[t].layout;
    std::vector<int64_t> places;
    std::vector<uint8_t> valid;
    bool all = true;
    for (const int64_t slot : parents.slots) {
        places.push_back(slot < 0 ? layout.slots() : slot);
        if (slot < 0) {
            valid.insert(valid.end(), static_cast<size_t>(layout.tokens()), 0);
        } else {
            const auto first = layout.valid.begin() + slot * layout.tokens();
            valid.insert(valid.end(), first, first + layout.tokens());
        }
        all = all && slot >= 0 && !layout.validOf(slot);
    }
    const auto [k, v] =
        keysAndValues(id, scales_[t].shared.index_select(0, onDevice(places, at::kLong, device_)));
    KeySegment segment{k, v, {}, {}};
    if (!all)
        segment.valid = onDevice(valid, at::kByte, device_)
                            .view({static_cast<int64_t>(places.size()), layout.tokens()})
                            .to(at::kBool);
    segment.keyWindow = onDevice(parents.indexOfEach, at::kInt, device_);
    return segment;
}

/// Output projection, residual and MLP: M_s(x + proj(A)).
at::Tensor DeviceBlocks::finish(const AtlasBlock::WeightSet& set, const at::Tensor& tokens,
                                const at::Tensor& attended, const at::Tensor& valid) const {
    at::Tensor x = tokens + set.proj(attended.transpose(1, 2).flatten(2));
    x = x + set.fc2(at::gelu(set.fc1(set.norm2(x))));
    return onlyValid(x, valid);
}

void DeviceBlocks::topDown(BlockId id, size_t i, int64_t from, int64_t to, const float* source,
                           const AttentionRecord& record) {
    const auto scale = static_cast<int64_t>(i);
    const auto& w = set(id, i);
    at::Tensor x = windows(i, from, to, source);
    if (i == 0) x = x + position(id, i);  // in float32
    const Autocast autocast(bf16_, device_.type());
    const at::Tensor valid = validOf(i, from, to);
    const at::Tensor q = heads(id, w.q(w.normQ(x)));
    std::vector<std::pair<int64_t, std::vector<int64_t>>> seen{{scale, {}}};  // scale, slots
    for (int64_t slot = from; slot < to; ++slot) seen[0].second.push_back(slot);
    if (block(id).memory()) {
        const ExternalAttention result = externalAttention(q, *block(id).memory(), valid);
        write(i, from, to, finish(w, x, result.out, valid));
        if (!record.maps) return;
        record.makeMaps(scale);
        const at::Tensor received = onHost(result.received),
                         mass = at::ones(received.sizes(), at::kFloat);
        for (int64_t n = 0; n < to - from; ++n) {
            record.addMass(scale, scale, from + n, mass[n].const_data_ptr<float>());
            record.addReceived(scale, scale, from + n, received[n].const_data_ptr<float>());
        }
        return;
    }
    const auto [k, v] = keysAndValues(id, w.kv(w.normKv(x)));
    std::vector<KeySegment> segments{{k, v, valid, {}}};
    for (size_t t = scales_.size() - 1; t > i; --t) {
        if (record.isOff(static_cast<int64_t>(t))) continue;
        Parents parents = parentsOf(i, t, from, to);
        segments.push_back(segmentOf(id, t, parents));
        seen.emplace_back(static_cast<int64_t>(t), std::move(parents.slots));
    }
    const SegmentedAttention result = segmentedAttention(q, segments);
    write(i, from, to, finish(w, x, result.out, valid));
    if (!record.maps) return;
    record.makeMaps(scale);
    for (size_t s = 0; s < segments.size(); ++s) {
        const auto& [of, slots] = seen[s];
        const at::Tensor mass = onHost(segmentMass(result, s));
        for (int64_t n = 0; n < to - from; ++n)
            record.addMass(scale, of, from + n, mass[n].const_data_ptr<float>());
        const at::Tensor received = onHost(receivedByKeys(q, segments[s], result.lse, valid));
        for (size_t n = 0; n < slots.size(); ++n)
            if (slots[n] >= 0)
                record.addReceived(scale, of, slots[n],
                                   received[static_cast<int64_t>(n)].const_data_ptr<float>());
    }
}

void DeviceBlocks::share(BlockId id, size_t i, int64_t from, int64_t to) {
    if (block(id).memory()) return;
    const Autocast autocast(bf16_, device_.type());
    const auto& w = set(id, i);
    const at::Tensor both = w.kv(w.normKv(windows(i, from, to)));
    Scale& scale = scales_[i];
    const int64_t slots = scale.layout->slots();
    if (!scale.shared.defined() || scale.shared.scalar_type() != both.scalar_type())
        scale.shared = at::zeros({slots + 1, both.size(1), both.size(2)}, both.options());
    scale.shared.slice(0, from, to).copy_(both);
}

void DeviceBlocks::upwards(BlockId id, size_t i, int64_t from, int64_t to,
                           const AttentionRecord& record) {
    if (block(id).memory()) return;
    const Autocast autocast(bf16_, device_.type());
    const auto& fine = set(id, i);
    const auto& coarse = set(id, i + 1);
    const at::Tensor index = tilesOf(i, from, to), all = scales_[i + 1].tokens.flatten(0, 1);
    const at::Tensor x = all.index_select(0, index).unflatten(0, {to - from, -1});
    at::Tensor validTile;
    if (scales_[i + 1].valid.defined())
        validTile =
            scales_[i + 1].valid.flatten().index_select(0, index).unflatten(0, {to - from, -1});
    const at::Tensor q = heads(id, coarse.q(coarse.normQ(x)));
    const bool off = record.isOff(static_cast<int64_t>(i));
    KeySegment keys;
    SegmentedAttention result;
    if (off) {  // no keys: the projection's bias alone
        result.out = at::zeros_like(q);
    } else {
        std::tie(keys.k, keys.v) = keysAndValues(id, fine.kv(fine.normKv(windows(i, from, to))));
        keys.valid = validOf(i, from, to);
        result = segmentedAttention(q, {keys});
    }
    all.index_copy_(0, index, finish(coarse, x, result.out, validTile).flatten(0, 1));
    if (!record.maps || off) return;
    const at::Tensor received = onHost(receivedByKeys(q, keys, result.lse, validTile));
    const auto k = static_cast<int64_t>(i);
    for (int64_t n = 0; n < to - from; ++n)
        record.addReceived(k + 1, k, from + n, received[n].const_data_ptr<float>());
}

}  // namespace atlas::engine
