// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime through its C interface, found and loaded at run time: nothing is linked, and a
// program without it still starts. Float32 or whole numbers in, float32 out, on the processor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace atlas::engine {

class OnnxSession {
  public:
    struct Output {
        std::vector<int64_t> shape;
        std::vector<float> values;
    };

    /// One input (float32, uint8, uint16 or int16) and at least one output in float32. `threads`
    /// work on one call of run(), the calling one among them; 0: the runtime's choice. Throws
    /// ModelError with path and cause, also where no ONNX Runtime is found.
    OnnxSession(const std::filesystem::path& file, int threads);
    ~OnnxSession();
    OnnxSession(const OnnxSession&) = delete;
    OnnxSession& operator=(const OnnxSession&) = delete;

    /// -1 where a dimension is free.
    const std::vector<int64_t>& inputShape() const { return inputShape_; }
    /// Whether the network takes whole numbers; run() then rounds, and clamps to their range.
    bool takesWholeNumbers() const;
    /// The first output. Any number of threads at once. Throws ModelError.
    Output run(std::vector<float>& input, const std::vector<int64_t>& shape) const;

  private:
    struct Handles;
    std::unique_ptr<Handles> handles_;
    std::filesystem::path file_;
    std::string inputName_, outputName_;
    std::vector<int64_t> inputShape_;
    int inputType_ = 0;  ///< as ONNX numbers it
};

/// "1.31.1", or empty where no ONNX Runtime is found.
std::string onnxRuntimeVersion();

}  // namespace atlas::engine
