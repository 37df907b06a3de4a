// SPDX-License-Identifier: Apache-2.0
#include "engine/bench/benchmark_case.h"

#include <ATen/DeviceAccelerator.h>
#include <ATen/Parallel.h>
#include <ATen/ops/randn.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "engine/bench/memory_probe.h"
#include "engine/kernels/cpu/peak.h"

namespace atlas::engine {
namespace {

using nlohmann::json;

/// A device works on after its calls have returned.
void wait(const at::Device& device) {
    if (at::accelerator::isAccelerator(device.type()))
        at::accelerator::synchronizeDevice(device.index());
}

double secondsOf(const std::function<void()>& work, const at::Device& device) {
    wait(device);
    const auto start = std::chrono::steady_clock::now();
    work();
    wait(device);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Large square products for about as long as what is compared with them takes, since a processor
/// is faster for a moment than it can stay: GFLOP/s.
class MatrixPeak {
  public:
    MatrixPeak(double seconds, const at::Device& device)
        : device_(device), n(device.is_cpu() ? 2048 : 8192) {
        at::matmul_out(c_, a_, b_);
        const double one = secondsOf([&] { at::matmul_out(c_, a_, b_); }, device_);
        count_ = std::clamp<int64_t>(std::llround(seconds / one), 1, kMost);
    }
    double measure() {
        const double seconds = secondsOf(
            [&] {
                for (int64_t i = 0; i < count_; ++i) at::matmul_out(c_, a_, b_);
            },
            device_);
        spent_ += seconds;
        best_ = std::max(best_, 2.0 * static_cast<double>(n * n * n * count_) / seconds / 1e9);
        return best_;
    }
    double spent() const { return spent_; }

  private:
    static constexpr int64_t kMost = 16;
    at::Tensor square() const {
        return at::randn({n, n}).to(device_, device_.is_cpu() ? at::kFloat : at::kBFloat16);
    }
    at::Device device_;
    int64_t n;
    at::Tensor a_ = square(), b_ = square(), c_ = at::empty_like(a_);
    int64_t count_ = 1;
    double best_ = 0, spent_ = 0;
};

/// The processor's multiply-add peak, measured again and again beside what is compared with it.
class MultiplyAddPeak {
  public:
    MultiplyAddPeak(bool bf16, const at::Device& device) : bf16_(bf16), known_(device.is_cpu()) {
        measure();
    }
    void measure() {
        if (!known_) return;
        const ProcessorPeak now = measurePeak(bf16_, at::get_num_threads(), kSeconds);
        if (now.gflops > best_.gflops) best_ = now;
    }
    /// Null of a device other than the processor.
    json shareOf(double gflops) const {
        return best_.gflops > 0 ? json(gflops / best_.gflops) : json();
    }
    const ProcessorPeak& best() const { return best_; }

  private:
    static constexpr double kSeconds = 0.03;  // for each kind of instruction
    bool bf16_, known_;
    ProcessorPeak best_;
};

/// Largest memory on top of what was there before: of the process, or of the device.
class PeakMemory {
  public:
    explicit PeakMemory(const at::Device& device) : device_(device) {
        if (device_.is_cpu()) {
            process_.emplace();
        } else {
            wait(device_);
            at::accelerator::resetPeakStats(device_.index());
            before_ = allocated().current;
        }
    }
    int64_t peak() const { return process_ ? process_->peak() : allocated().peak - before_; }

  private:
    c10::CachingAllocator::Stat allocated() const {
        return at::accelerator::getDeviceStats(device_.index()).allocated_bytes[0];
    }
    at::Device device_;
    std::optional<MemoryProbe> process_;
    int64_t before_ = 0;
};

}  // namespace

double matrixPeak(double seconds, const at::Device& device) {
    return MatrixPeak(seconds, device).measure();
}

json multiplyAddPeak(double seconds) {
    json peaks = json::object();
    for (const bool bf16 : {false, true})
        if (const ProcessorPeak peak = measurePeak(bf16, at::get_num_threads(), seconds);
            peak.gflops > 0)
            peaks[bf16 ? "bfloat16" : "float32"] = {{"gflops", peak.gflops},
                                                    {"instructions", peak.name}};
    return peaks;
}

json measureCase(const BenchmarkCase& c, double seconds, const at::Device& device) {
    json result{{"name", c.name}};
    // The first calls tell the memory: everything that they keep is theirs.
    double ours = 0, plain = 0;
    int64_t peak = 0, plainPeak = 0;
    {
        const PeakMemory probe(device);
        plain = secondsOf(c.plain, device);
        plainPeak = probe.peak();
    }
    {
        const PeakMemory probe(device);
        ours = secondsOf(c.ours, device);
        peak = probe.peak();
    }
    MatrixPeak machine(ours, device);
    MultiplyAddPeak units(c.bf16, device);
    double power = machine.measure(), spent = 0;
    // Interleaved, so that a slow minute of the machine falls on both.
    for (int round = 0; round < 200 && (round < 2 || spent < 2 * seconds); ++round) {
        if (round >= 1 && ours + plain > 20 * seconds) break;
        const double p = secondsOf(c.plain, device), o = secondsOf(c.ours, device);
        plain = std::min(plain, p);
        ours = std::min(ours, o);
        spent += p + o;
        if (machine.spent() >= spent) continue;
        power = machine.measure();
        units.measure();
    }
    result["ours_s"] = ours;
    result["plain_s"] = plain;
    result["ratio"] = plain / ours;
    result["gflop"] = c.flops / 1e9;
    result["gflops"] = c.flops / ours / 1e9;
    result["bytes"] = c.bytes;
    result["peak_share"] = units.shareOf(c.flops / ours / 1e9);
    result["plain_peak_share"] = units.shareOf(c.flops / plain / 1e9);
    result["peak_gflops"] = units.best().gflops;
    result["peak_instructions"] = units.best().name;
    result["matmul_share"] = c.flops / ours / 1e9 / power;
    result["plain_matmul_share"] = c.flops / plain / 1e9 / power;
    result["matmul_gflops"] = power;
    if (c.images > 0) result["images_s"] = static_cast<double>(c.images) / ours;
    result["peak_bytes"] = peak;
    result["plain_peak_bytes"] = plainPeak;
    return result;
}

AtlasConfig baseConfig() {
    AtlasConfig c;
    c.numClasses = 100;
    c.stages = {{2, 12, 4, true, 3}, {10, 12, 4, true, 2}};
    return c;
}

AtlasConfig smallConfig() {
    AtlasConfig c = baseConfig();
    c.stemWidth = 48;
    c.dim = 192;
    c.stages = {{2, 3, 4, true, 3}, {10, 3, 4, true, 2}};
    return c;
}

AtlasConfig scenesConfig() {
    AtlasConfig c;
    c.stemFirstWidth = c.stemWidth = 16;
    c.dim = 64;
    c.numClasses = 10;
    c.windowSide = 8;
    c.mapping = WindowMapping::Nested;
    c.stages = {{1, 2, 3, true, 3}, {2, 2, 3, true, 2}, {3, 2, 3, true, 1}};
    return c;
}

}  // namespace atlas::engine
