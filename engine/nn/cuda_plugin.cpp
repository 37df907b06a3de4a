// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/cuda_plugin.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <list>
#include <map>
#include <mutex>
#include <tuple>

#include "engine/kernels/cuda/atlas_cuda.h"
#include "engine/nn/shared_library.h"

namespace atlas::engine {
namespace {

constexpr int64_t kBlocksToFillAGpu = 512;

/// Which coarse window each fine one sees, and the other way round, on a device.
struct WindowIndex {
    at::Tensor keyWindow;    ///< int32 [fine windows]
    at::Tensor queryStart;   ///< int32 [coarse windows + 1] into queryWindow
    at::Tensor queryWindow;  ///< int32 [fine windows]
};

WindowIndex makeIndex(const WindowGroups& g, const at::Device& device) {
    const int64_t fine = g.fineRows * g.fineRows, coarse = g.coarseRows * g.coarseRows;
    std::vector<int32_t> keyWindow, queryStart{0}, queryWindow;
    std::vector<std::vector<int32_t>> seenBy(static_cast<size_t>(g.batch * coarse));
    for (int64_t b = 0; b < g.batch; ++b)
        for (int64_t i = 0; i < fine; ++i) {
            keyWindow.push_back(static_cast<int32_t>(
                b * coarse + parentWindow(i, g.fineRows, g.coarseRows, g.mapping)));
            seenBy[static_cast<size_t>(keyWindow.back())].push_back(
                static_cast<int32_t>(b * fine + i));
        }
    for (const auto& windows : seenBy) {
        queryWindow.insert(queryWindow.end(), windows.begin(), windows.end());
        queryStart.push_back(static_cast<int32_t>(queryWindow.size()));
    }
    const auto onDevice = [&](std::vector<int32_t>& v) {
        return at::from_blob(v.data(), {static_cast<int64_t>(v.size())}, at::kInt)
            .clone()
            .to(device);
    };
    return {onDevice(keyWindow), onDevice(queryStart), onDevice(queryWindow)};
}

/// The other way round from `keyWindow` [fine windows].
WindowIndex indexOf(const at::Tensor& keyWindow, int64_t keyWindows) {
    const at::Tensor sorted = keyWindow.argsort(/*stable=*/true, 0, /*descending=*/false);
    const at::Tensor counts = keyWindow.bincount({}, keyWindows).cumsum(0);
    return {keyWindow, at::cat({at::zeros({1}, counts.options()), counts}).to(at::kInt),
            sorted.to(at::kInt)};
}

/// Made once for each layout, so that nothing is uploaded in the steady state.
WindowIndex indexOf(const WindowGroups& g, const at::Device& device) {
    static std::mutex mutex;
    static std::map<std::tuple<int64_t, int64_t, int64_t, int, std::string>, WindowIndex> cache;
    const std::lock_guard lock(mutex);
    if (cache.size() > 64) cache.clear();
    auto& entry =
        cache[{g.batch, g.fineRows, g.coarseRows, static_cast<int>(g.mapping), device.str()}];
    if (!entry.keyWindow.defined()) entry = makeIndex(g, device);
    return entry;
}

/// A problem in the making; holds on to what its pointers point to.
struct Problem {
    AtlasMsaProblem problem{};
    std::list<at::Tensor> alive;
    at::Tensor query;

    explicit Problem(const at::Tensor& q) {
        const bool half = (q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf) &&
                          (q.size(3) == 32 || q.size(3) == 64 || q.size(3) == 128);
        type_ = half ? q.scalar_type() : at::kFloat;
        problem.version = kAtlasMsaVersion;
        problem.element = !half                              ? kAtlasFloat32
                          : q.scalar_type() == at::kBFloat16 ? kAtlasBfloat16
                                                             : kAtlasFloat16;
        query = keep(q);
        problem.q = describe(query);
        problem.heads = static_cast<int32_t>(q.size(1));
        problem.queryWindows = q.size(0);
        problem.queriesPerWindow = static_cast<int32_t>(q.size(2));
        problem.headDim = static_cast<int32_t>(q.size(3));
        problem.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(q.size(3))));
    }

    void add(const KeySegment& from) {
        auto& to = problem.segment[problem.segments++];
        to.k = describe(keep(from.k));
        to.v = describe(keep(from.v));
        to.keyWindows = from.k.size(0);
        to.keysPerWindow = static_cast<int32_t>(from.k.size(2));
        if (from.valid.defined()) to.valid = bytes(from.valid);
        if (from.keyWindow.defined()) {
            alive.push_back(from.keyWindow.to(query.device(), at::kInt).contiguous());
            to.keyWindow = alive.back().const_data_ptr<int32_t>();
        } else if (from.groups.fineRows != from.groups.coarseRows) {
            alive.push_back(indexOf(from.groups, query.device()).keyWindow);
            to.keyWindow = alive.back().const_data_ptr<int32_t>();
        }
    }

    const uint8_t* bytes(const at::Tensor& mask) {
        alive.push_back(mask.to(query.device(), at::kByte).contiguous());
        return alive.back().const_data_ptr<uint8_t>();
    }

    static AtlasMsaTensor describe(const at::Tensor& x) {
        return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
    }

  private:
    /// As it lies where the interface can express that, otherwise a dense copy.
    const at::Tensor& keep(const at::Tensor& x) {
        at::Tensor kept = x.to(query.defined() ? query.device() : x.device(), type_);
        const bool aligned = type_ == at::kFloat || msaTensorAligned(describe(kept));
        if (kept.stride(3) != 1 || !aligned) kept = kept.contiguous();
        alive.push_back(kept);
        return alive.back();
    }

    at::ScalarType type_;
};

void* currentStream(const at::Device& device) {
    return at::accelerator::getCurrentStream(device.index()).native_handle();
}

/// libatlas_cuda, opened once. Quiet: a machine without it just goes on with LibTorch.
class Plugin {
  public:
    static const Plugin& get() {
        static const Plugin plugin;
        return plugin;
    }
    bool usable() const { return usable_; }
    const std::string& status() const { return status_; }

    MsaForwardCall forward(const at::Device& device) const {
        return [this, device](const AtlasMsaProblem& problem) {
            return forward_(&problem, currentStream(device));
        };
    }
    MsaReceivedCall received(const at::Device& device) const {
        return [this, device](const AtlasMsaProblem& problem, const AtlasMsaReceived& request) {
            return received_(&problem, &request, currentStream(device));
        };
    }

  private:
    Plugin() {
        void* library = open();
        if (!library) return;
        const auto version = symbolOf<decltype(&atlas_cuda_version)>(library, "atlas_cuda_version");
        const auto count =
            symbolOf<decltype(&atlas_cuda_device_count)>(library, "atlas_cuda_device_count");
        forward_ = symbolOf<decltype(forward_)>(library, "atlas_cuda_msa_forward");
        received_ = symbolOf<decltype(received_)>(library, "atlas_cuda_msa_received");
        if (!version || !count || !forward_ || !received_)
            status_ = "CUDA plug-in not used: it lacks a function";
        else if (version() != kAtlasMsaVersion)
            status_ = "CUDA plug-in not used: it was built for another version";
        else if (count() == 0)
            status_ = "CUDA plug-in not used: no driver or no GPU";
        else if (!at::globalContext().hasCUDA())
            status_ = "CUDA plug-in not used: this LibTorch is a build without CUDA";
        else
            usable_ = selfTest();
    }

    void* open() {
        std::vector<std::filesystem::path> places;
        if (const char* given = std::getenv("ATLASSCOPE_CUDA_PLUGIN")) places.emplace_back(given);
        for (const auto& folder : programFolders()) places.push_back(folder / "libatlas_cuda.so");
        std::string problem;
        void* library = openLibrary(places, problem);
        if (!problem.empty()) status_ = "CUDA plug-in not used: " + problem;
        return library;
    }

    bool selfTest() try {
        for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf})
            if (!agrees(type)) {
                status_ = std::string("CUDA plug-in not used: its self-test in ") +
                          at::toString(type) + " gave wrong results";
                return false;
            }
        status_ = "CUDA plug-in in use";
        return true;
    } catch (const std::exception& error) {
        status_ = std::string("CUDA plug-in not used: ") + error.what();
        return false;
    }

    /// A small case with a mask and a shared coarse window, against LibTorch on the processor.
    bool agrees(at::ScalarType type) const {
        const at::NoGradGuard noGradient;
        const auto random = [&](std::vector<int64_t> shape) { return at::randn(shape).to(type); };
        const at::Device device(at::kCUDA, 0);
        const WindowGroups own{2, 2, 2, WindowMapping::Raster}, up{2, 2, 1, WindowMapping::Nested};
        const at::Tensor q = random({8, 2, 70, 64});
        std::vector<KeySegment> host{{random({8, 2, 70, 64}), random({8, 2, 70, 64}), {}, own},
                                     {random({2, 2, 90, 64}), random({2, 2, 90, 64}), {}, up}};
        host[0].valid = at::rand({8, 70}) > 0.3;
        std::vector<KeySegment> segments = host, exact = host;
        for (size_t i = 0; i < host.size(); ++i) {
            segments[i].k = host[i].k.to(device);
            segments[i].v = host[i].v.to(device);
            exact[i].k = host[i].k.to(at::kFloat);
            exact[i].v = host[i].v.to(at::kFloat);
        }
        const auto expected = segmentedAttention(q.to(at::kFloat), exact);
        const auto result = segmentedAttentionBy(forward(device), q.to(device), segments);
        const double tolerance = type == at::kFloat ? 1e-5 : type == at::kHalf ? 4e-3 : 3e-2;
        if (!result || !at::allclose(result->out.cpu().to(at::kFloat), expected.out, 0, tolerance))
            return false;
        if (type == at::kFloat) return true;
        const auto received =
            receivedBy(this->received(device), q.to(device), segments[1], result->lse, {});
        return received &&
               at::allclose(received->cpu(),
                            receivedByKeys(q.to(at::kFloat), exact[1], expected.lse, {}), 1e-3,
                            1e-3);
    }

    decltype(&atlas_cuda_msa_forward) forward_ = nullptr;
    decltype(&atlas_cuda_msa_received) received_ = nullptr;
    bool usable_ = false;
    std::string status_ = "CUDA plug-in not found";
};

}  // namespace

std::optional<SegmentedAttention> segmentedAttentionBy(const MsaForwardCall& call,
                                                       const at::Tensor& q,
                                                       const std::vector<KeySegment>& segments) {
    if (q.size(3) > kAtlasMsaMaxHeadDim || segments.size() > kAtlasMsaMaxSegments)
        return std::nullopt;
    Problem made(q);
    for (const auto& segment : segments) made.add(segment);
    auto& problem = made.problem;
    const at::Tensor& query = made.query;
    SegmentedAttention result;
    // Token by token, as the projection that comes next wants it.
    result.out =
        at::empty({query.size(0), query.size(2), query.size(1), query.size(3)}, query.options())
            .transpose(1, 2);
    const auto floats = query.options().dtype(at::kFloat);
    auto rows = query.sizes().slice(0, 3).vec();
    result.lse = at::empty(rows, floats);
    rows.insert(rows.begin(), static_cast<int64_t>(segments.size()));
    const at::Tensor mass = at::empty(rows, floats);
    problem.out = Problem::describe(result.out);
    problem.lse = result.lse.data_ptr<float>();
    problem.mass = mass.data_ptr<float>();
    if (call(problem)) return std::nullopt;
    for (size_t i = 0; i < segments.size(); ++i)
        result.segmentLse.push_back(mass[static_cast<int64_t>(i)].log() + result.lse);
    result.out = result.out.to(q.scalar_type());
    return result;
}

std::optional<at::Tensor> receivedBy(const MsaReceivedCall& call, const at::Tensor& q,
                                     const KeySegment& segment, const at::Tensor& lse,
                                     const at::Tensor& validQuery) {
    Problem made(q);
    if (made.problem.element == kAtlasFloat32) return std::nullopt;
    made.add(segment);
    made.problem.out = made.problem.q;  // unused
    made.alive.push_back(lse.to(at::kFloat).contiguous());
    made.problem.lse = made.alive.back().data_ptr<float>();
    const int64_t heads = q.size(1), windows = segment.k.size(0), keys = segment.k.size(2);
    const int64_t seenBy = q.size(0) / std::max<int64_t>(1, windows);  // on average
    AtlasMsaReceived request{};
    request.parts = static_cast<int32_t>(
        std::clamp<int64_t>(kBlocksToFillAGpu / std::max<int64_t>(1, heads * windows), 1,
                            std::max<int64_t>(1, seenBy)));
    if (validQuery.defined()) request.validQuery = made.bytes(validQuery);
    WindowIndex index;
    if (made.problem.segment[0].keyWindow) {
        index = segment.keyWindow.defined() ? indexOf(segment.keyWindow.to(q.device()), windows)
                                            : indexOf(segment.groups, q.device());
        request.queryStart = index.queryStart.const_data_ptr<int32_t>();
        request.queryWindow = index.queryWindow.const_data_ptr<int32_t>();
    }
    const at::Tensor received =
        at::empty({request.parts, heads, windows, keys}, q.options().dtype(at::kFloat));
    request.received = received.data_ptr<float>();
    if (call(made.problem, request)) return std::nullopt;
    return received.sum(0).mean(0);
}

std::optional<SegmentedAttention> segmentedAttentionByPlugin(
    const at::Tensor& q, const std::vector<KeySegment>& segments) {
    if (!q.is_cuda() || at::GradMode::is_enabled() || !Plugin::get().usable()) return std::nullopt;
    return segmentedAttentionBy(Plugin::get().forward(q.device()), q, segments);
}

std::optional<at::Tensor> receivedByPlugin(const at::Tensor& q, const KeySegment& segment,
                                           const at::Tensor& lse, const at::Tensor& validQuery) {
    if (!q.is_cuda() || at::GradMode::is_enabled() || !Plugin::get().usable()) return std::nullopt;
    return receivedBy(Plugin::get().received(q.device()), q, segment, lse, validQuery);
}

std::string cudaPluginStatus() {
    return Plugin::get().status();
}

}  // namespace atlas::engine
