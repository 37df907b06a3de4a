// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/device.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <list>
#include <vector>

#include "engine/kernels/cuda/atlas_cuda.h"
#include "engine/nn/model_error.h"
#include "engine/nn/segmented_attention.h"

namespace atlas::engine {
namespace {

int64_t cudaDevices(std::string& cause) {
    if (!at::globalContext().hasCUDA()) {
        cause = "this LibTorch has no CUDA, or there is no NVIDIA driver or GPU";
        return 0;
    }
    const auto count = static_cast<int64_t>(at::accelerator::deviceCount());
    if (count == 0) cause = "no NVIDIA GPU was found";
    return count;
}

/// libatlas_cuda, opened once. Quiet: a machine without it just goes on with LibTorch.
class Plugin {
  public:
    static const Plugin& get() {
        static const Plugin plugin;
        return plugin;
    }
    bool usable() const { return forward_ != nullptr; }
    const std::string& status() const { return status_; }
    const char* forward(const AtlasMsaProblem& problem, void* stream) const {
        return forward_(&problem, stream);
    }

  private:
    using Forward = const char* (*)(const AtlasMsaProblem*, void*);

    Plugin() {
        void* library = open();
        if (!library) return;
        const auto version = reinterpret_cast<int (*)()>(dlsym(library, "atlas_cuda_version"));
        const auto count = reinterpret_cast<int (*)()>(dlsym(library, "atlas_cuda_device_count"));
        const auto forward = reinterpret_cast<Forward>(dlsym(library, "atlas_cuda_msa_forward"));
        if (!version || !count || !forward)
            status_ = "CUDA plug-in not used: it lacks a function";
        else if (version() != kAtlasMsaVersion)
            status_ = "CUDA plug-in not used: it was built for another version";
        else if (count() == 0)
            status_ = "CUDA plug-in not used: no driver or no GPU";
        else if (!at::globalContext().hasCUDA())
            status_ = "CUDA plug-in not used: this LibTorch is a build without CUDA";
        else if (selfTest(forward))
            forward_ = forward;
    }

    void* open() {
        std::vector<std::filesystem::path> places;
        if (const char* given = std::getenv("ATLASSCOPE_CUDA_PLUGIN")) places.emplace_back(given);
        std::error_code error;
        const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
        if (!error) {
            places.push_back(self.parent_path() / "libatlas_cuda.so");
            places.push_back(self.parent_path() / "../lib/atlasscope/libatlas_cuda.so");
        }
        for (const auto& place : places)
            if (void* library = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
        return nullptr;
    }

    /// A small case on the device against the same arithmetic on the host.
    bool selfTest(Forward forward);

    Forward forward_ = nullptr;
    std::string status_ = "CUDA plug-in not found";
};

at::Tensor indexOf(const WindowGroups& groups) {
    std::vector<int32_t> windows;
    for (int64_t b = 0; b < groups.batch; ++b)
        for (int64_t i = 0; i < groups.fineRows * groups.fineRows; ++i)
            windows.push_back(static_cast<int32_t>(
                b * groups.coarseRows * groups.coarseRows +
                parentWindow(i, groups.fineRows, groups.coarseRows, groups.mapping)));
    return at::from_blob(windows.data(), {static_cast<int64_t>(windows.size())}, at::kInt).clone();
}

/// Lays `q` and `segments` out densely on q's device and calls `run`, which returns nullptr or a
/// cause; nothing where it failed.
using Run = std::function<const char*(const AtlasMsaProblem&)>;
std::optional<SegmentedAttention> runProblem(const at::Tensor& q,
                                             const std::vector<KeySegment>& segments,
                                             const Run& run) {
    std::list<at::Tensor> alive;
    const auto dense = [&](const at::Tensor& x, at::ScalarType type) -> const at::Tensor& {
        alive.push_back(x.to(q.device(), type).contiguous());
        return alive.back();
    };
    const at::Tensor query = dense(q, at::kFloat);
    const auto rows = query.sizes().slice(0, 3).vec();
    SegmentedAttention result;
    result.out = at::empty_like(query);
    result.lse = at::empty(rows, query.options());
    auto massShape = rows;
    massShape.insert(massShape.begin(), static_cast<int64_t>(segments.size()));
    const at::Tensor mass = at::empty(massShape, query.options());
    AtlasMsaProblem problem{};
    problem.version = kAtlasMsaVersion;
    problem.segments = static_cast<int32_t>(segments.size());
    problem.queryWindows = query.size(0);
    problem.heads = static_cast<int32_t>(query.size(1));
    problem.queriesPerWindow = static_cast<int32_t>(query.size(2));
    problem.headDim = static_cast<int32_t>(query.size(3));
    problem.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(query.size(3))));
    problem.q = query.const_data_ptr<float>();
    problem.out = result.out.data_ptr<float>();
    problem.lse = result.lse.data_ptr<float>();
    problem.mass = mass.data_ptr<float>();
    for (size_t i = 0; i < segments.size(); ++i) {
        const auto& from = segments[i];
        auto& to = problem.segment[i];
        to.k = dense(from.k, at::kFloat).const_data_ptr<float>();
        to.v = dense(from.v, at::kFloat).const_data_ptr<float>();
        to.keyWindows = from.k.size(0);
        to.keysPerWindow = static_cast<int32_t>(from.k.size(2));
        if (from.valid.defined()) to.valid = dense(from.valid, at::kByte).const_data_ptr<uint8_t>();
        if (from.groups.fineRows != from.groups.coarseRows)
            to.keyWindow = dense(indexOf(from.groups), at::kInt).const_data_ptr<int32_t>();
    }
    if (run(problem)) return std::nullopt;
    for (size_t i = 0; i < segments.size(); ++i)
        result.segmentLse.push_back(mass[static_cast<int64_t>(i)].log() + result.lse);
    result.out = result.out.to(q.scalar_type());
    return result;
}

void* currentStream(const at::Device& device) {
    return at::accelerator::getCurrentStream(device.index()).native_handle();
}

bool Plugin::selfTest(Forward forward) try {
    const at::Tensor q = at::randn({8, 2, 5, 32});
    const WindowGroups own{2, 2, 2, WindowMapping::Raster}, up{2, 2, 1, WindowMapping::Nested};
    std::vector<KeySegment> host{{at::randn({8, 2, 5, 32}), at::randn({8, 2, 5, 32}), {}, own},
                                 {at::randn({2, 2, 7, 32}), at::randn({2, 2, 7, 32}), {}, up}};
    const auto expected = segmentedAttention(q, host).out;
    const at::Device device(at::kCUDA, 0);
    std::vector<KeySegment> segments = host;
    for (auto& segment : segments) {
        segment.k = segment.k.to(device);
        segment.v = segment.v.to(device);
    }
    const auto result = runProblem(q.to(device), segments, [&](const AtlasMsaProblem& problem) {
        return forward(&problem, currentStream(device));
    });
    if (result && at::allclose(result->out.cpu(), expected, 1e-4, 1e-5)) {
        status_ = "CUDA plug-in in use";
        return true;
    }
    status_ = "CUDA plug-in not used: its self-test gave wrong results";
    return false;
} catch (const std::exception& error) {
    status_ = std::string("CUDA plug-in not used: ") + error.what();
    return false;
}

}  // namespace

DeviceChoice chooseDevice(const std::string& request) {
    if (request == "cpu") return {at::Device(at::kCPU), "CPU (as asked)"};
    std::string cause;
    if (request == "auto" || request.empty()) {
        if (cudaDevices(cause) > 0)
            return {at::Device(at::kCUDA, 0), "GPU 0 (" + cudaPluginStatus() + ")"};
        return {at::Device(at::kCPU), "CPU (" + cause + ")"};
    }
    if (request != "cuda" && request.rfind("cuda:", 0) != 0)
        throw ModelError("device \"" + request + "\" is unknown: use auto, cpu, cuda or cuda:N");
    int64_t index = 0;
    if (request.size() > 5) {
        const std::string digits = request.substr(5);
        if (digits.find_first_not_of("0123456789") != std::string::npos || digits.size() > 3)
            throw ModelError("device \"" + request + "\": the number of the GPU is not a number");
        index = std::stol(digits);
    }
    const int64_t count = cudaDevices(cause);
    if (count == 0) throw ModelError("device " + request + " cannot be used: " + cause);
    if (index >= count)
        throw ModelError("device " + request + " cannot be used: there are " +
                         std::to_string(count) + " GPUs, numbered from 0");
    return {at::Device(at::kCUDA, static_cast<at::DeviceIndex>(index)),
            "GPU " + std::to_string(index) + " (" + cudaPluginStatus() + ")"};
}

std::optional<SegmentedAttention> segmentedAttentionByPlugin(
    const at::Tensor& q, const std::vector<KeySegment>& segments) {
    if (!q.is_cuda() || at::GradMode::is_enabled() || q.size(3) > kAtlasMsaMaxHeadDim ||
        segments.size() > kAtlasMsaMaxSegments || !Plugin::get().usable())
        return std::nullopt;
    return runProblem(q, segments, [&](const AtlasMsaProblem& problem) {
        return Plugin::get().forward(problem, currentStream(q.device()));
    });
}

std::string cudaPluginStatus() {
    return Plugin::get().status();
}

}  // namespace atlas::engine
