// SPDX-License-Identifier: Apache-2.0
// Times each operation and whole networks: ours against plain LibTorch, interleaved in one run.
// A timer of its own, so that it runs where only LibTorch is.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace atlas::engine {

struct BenchmarkOptions {
    std::string filter;  ///< part of a name; empty: the usual cases
    bool all = false;    ///< the largest cases too: minutes each
    double seconds = 4;  ///< of measuring a case and side, about
    int threads = 0;     ///< 0: LibTorch's choice
    std::string device =
        "cpu";  ///< as `--device`: what a GPU does is timed elsewhere than on `cpu`
};

/// {"machine": {...}, "results": [{"name", "ours_s", "plain_s", "ratio", "gflops", "peak_share",
/// "matmul_share", "peak_bytes", "plain_peak_bytes"}]}, of networks on a GPU "images_s" too.
/// `peak_share` is the share of the processor's multiply-add peak (null on a GPU, where it is not
/// measured), `matmul_share` that of LibTorch's large matrix product. Both count the operations of
/// the plain algorithm: Winograd convolutions need fewer multiplications and can pass 1. `report`
/// receives each result as it is there.
nlohmann::json runBenchmarks(const BenchmarkOptions& options,
                             const std::function<void(const nlohmann::json&)>& report);

/// A table line, with its heading where `result` is null.
std::string benchmarkLine(const nlohmann::json& result);

/// What the columns of shares mean: `machine` of runBenchmarks().
std::string benchmarkFooter(const nlohmann::json& machine);

/// What changed against an earlier JSON: a line a name that both have.
std::string compareBenchmarks(const nlohmann::json& before, const nlohmann::json& now);

}  // namespace atlas::engine
