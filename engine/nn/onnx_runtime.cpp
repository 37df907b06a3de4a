// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/onnx_runtime.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "engine/nn/model_error.h"
#include "engine/nn/shared_library.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

// ONNX Runtime's C interface is a table of functions that only grows at its end; these are the
// places of the functions used here, in version 16 of it (ONNX Runtime 1.16, MIT licence).
constexpr uint32_t kApiVersion = 16;
enum Slot : size_t {
    GetErrorMessage = 2,
    CreateEnv = 3,
    CreateSession = 7,
    Run = 9,
    CreateSessionOptions = 10,
    SetSessionGraphOptimizationLevel = 23,
    SetIntraOpNumThreads = 24,
    SessionGetInputCount = 30,
    SessionGetOutputCount = 31,
    SessionGetInputTypeInfo = 33,
    SessionGetOutputTypeInfo = 34,
    SessionGetInputName = 36,
    SessionGetOutputName = 37,
    CreateTensorWithDataAsOrtValue = 49,
    GetTensorMutableData = 51,
    CastTypeInfoToTensorInfo = 55,
    GetTensorElementType = 60,
    GetDimensionsCount = 61,
    GetDimensions = 62,
    GetTensorShapeElementCount = 64,
    GetTensorTypeAndShape = 65,
    CreateCpuMemoryInfo = 69,
    AllocatorFree = 76,
    GetAllocatorWithDefaultOptions = 78,
    ReleaseEnv = 92,
    ReleaseStatus = 93,
    ReleaseMemoryInfo = 94,
    ReleaseSession = 95,
    ReleaseValue = 96,
    ReleaseTypeInfo = 98,
    ReleaseTensorTypeAndShapeInfo = 99,
    ReleaseSessionOptions = 100,
    AddSessionConfigEntry = 130,
};
constexpr int kUInt8 = 2, kUInt16 = 4, kInt16 = 5;
constexpr int kFloat = 1, kDeviceAllocator = 0, kDefaultMemory = 0, kWarning = 2,
              kAllOptimisations = 99;
constexpr int64_t kMostOutputValues = int64_t{1} << 30;

struct ApiBase {
    void* const* (*getApi)(uint32_t version);
    const char* (*getVersion)();
};

class Runtime {
  public:
    /// Nothing is freed: the library stays for the life of the program.
    static const Runtime& instance() {
        static const Runtime runtime;
        return runtime;
    }
    bool usable() const { return table_ != nullptr; }
    const std::string& version() const { return version_; }
    const std::string& problem() const { return problem_; }

    /// Calls a function that returns a status; throws its message.
    template <typename... Arguments>
    void call(Slot slot, Arguments... arguments) const {
        using Function = void* (*)(Arguments...);
        void* status = reinterpret_cast<Function>(table_[slot])(arguments...);
        if (!status) return;
        using Text = const char* (*)(const void*);
        const std::string text = reinterpret_cast<Text>(table_[GetErrorMessage])(status);
        release(ReleaseStatus, status);
        throw ModelError(text.substr(0, text.find('\n')));
    }
    void release(Slot slot, void* thing) const {
        if (thing) reinterpret_cast<void (*)(void*)>(table_[slot])(thing);
    }

  private:
    Runtime() {
        void* library = open();
        if (!library) {
            if (problem_.empty())
                problem_ =
                    "no ONNX Runtime is found (installer/setup.sh installs it; "
                    "ATLASSCOPE_ONNXRUNTIME names the library elsewhere)";
            return;
        }
        const auto base = symbolOf<const ApiBase* (*)()>(library, "OrtGetApiBase");
        table_ = base ? base()->getApi(kApiVersion) : nullptr;
        if (!table_) {
            problem_ = "this ONNX Runtime is older than 1.16";
            return;
        }
        version_ = base()->getVersion();
    }

    void* open() {
        std::vector<fs::path> places;
        if (const char* given = std::getenv("ATLASSCOPE_ONNXRUNTIME")) places.emplace_back(given);
        for (const auto& folder : programFolders()) addLibraries(folder, places);
        addLibraries(ATLASSCOPE_ONNXRUNTIME_DIR, places);  // where the build found the wheel
        places.emplace_back("libonnxruntime.so.1");        // the system's
        std::string problem;
        void* library = openLibrary(places, problem);
        if (!problem.empty()) problem_ = "ONNX Runtime cannot be loaded: " + problem;
        return library;
    }
    static void addLibraries(const fs::path& folder, std::vector<fs::path>& places) {
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(folder, error))
            if (entry.path().filename().string().starts_with("libonnxruntime.so"))
                places.push_back(entry.path());
    }

    void* const* table_ = nullptr;
    std::string version_, problem_;
};

/// One thing of the runtime, released at the end of its scope.
class Owned {
  public:
    explicit Owned(Slot release) : release_(release) {}
    ~Owned() { Runtime::instance().release(release_, thing); }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    void* thing = nullptr;

  private:
    Slot release_;
};

int typeOf(const Runtime& ort, const void* info) {
    int type = 0;
    ort.call(GetTensorElementType, info, &type);
    return type;
}

/// The numbers rounded and clamped to the range of a type.
template <typename Whole>
std::vector<Whole> wholeNumbers(const std::vector<float>& values) {
    std::vector<Whole> whole(values.size());
    for (size_t i = 0; i < values.size(); ++i)
        whole[i] = static_cast<Whole>(std::clamp(
            std::nearbyint(values[i]), static_cast<float>(std::numeric_limits<Whole>::min()),
            static_cast<float>(std::numeric_limits<Whole>::max())));
    return whole;
}

/// The dimensions of a tensor's description; throws where it is not float32, or of an input one of
/// the whole numbers that are known.
std::vector<int64_t> shapeOf(const Runtime& ort, const void* info, const char* what) {
    const int type = typeOf(ort, info);
    const bool whole = type == kUInt8 || type == kUInt16 || type == kInt16;
    if (type != kFloat && !(whole && std::string(what) == "input"))
        throw ModelError(std::string("its ") + what + " is not float32" +
                         (std::string(what) == "input" ? ", uint8, uint16 or int16" : ""));
    size_t count = 0;
    ort.call(GetDimensionsCount, info, &count);
    std::vector<int64_t> shape(count);
    ort.call(GetDimensions, info, shape.data(), count);
    return shape;
}

}  // namespace

struct OnnxSession::Handles {
    Owned env{ReleaseEnv}, session{ReleaseSession}, memory{ReleaseMemoryInfo};
};

OnnxSession::OnnxSession(const fs::path& file, int threads)
    : handles_(std::make_unique<Handles>()), file_(file) {
    const auto& ort = Runtime::instance();
    if (!ort.usable()) throw ModelError(file.string() + ": " + ort.problem());
    try {
        ort.call(CreateEnv, kWarning, "atlasscope", &handles_->env.thing);
        Owned options(ReleaseSessionOptions);
        ort.call(CreateSessionOptions, &options.thing);
        if (threads > 0) ort.call(SetIntraOpNumThreads, options.thing, threads);
        // Threads that wait sleep: spinning ones take the processor from other programs, and lose
        // their turn to them just when there is work.
        ort.call(AddSessionConfigEntry, options.thing, "session.intra_op.allow_spinning", "0");
        ort.call(SetSessionGraphOptimizationLevel, options.thing, kAllOptimisations);
        ort.call(CreateSession, handles_->env.thing, file.c_str(),
                 static_cast<const void*>(options.thing), &handles_->session.thing);
        ort.call(CreateCpuMemoryInfo, kDeviceAllocator, kDefaultMemory, &handles_->memory.thing);
        const auto* session = static_cast<const void*>(handles_->session.thing);
        size_t inputs = 0, outputs = 0;
        ort.call(SessionGetInputCount, session, &inputs);
        ort.call(SessionGetOutputCount, session, &outputs);
        if (inputs != 1 || outputs < 1)
            throw ModelError("it has " + std::to_string(inputs) + " inputs and " +
                             std::to_string(outputs) + " outputs; one image in is expected");
        void* allocator = nullptr;  // the runtime's own, never released
        ort.call(GetAllocatorWithDefaultOptions, &allocator);
        const auto name = [&](Slot slot) {
            char* text = nullptr;
            ort.call(slot, session, size_t{0}, allocator, &text);
            const std::string copy = text;
            ort.call(AllocatorFree, allocator, static_cast<void*>(text));
            return copy;
        };
        inputName_ = name(SessionGetInputName);
        outputName_ = name(SessionGetOutputName);
        const auto shape = [&](Slot slot, const char* what) {
            Owned type(ReleaseTypeInfo);
            ort.call(slot, session, size_t{0}, &type.thing);
            const void* tensor = nullptr;  // a part of `type`
            ort.call(CastTypeInfoToTensorInfo, static_cast<const void*>(type.thing), &tensor);
            if (!tensor) throw ModelError(std::string("its ") + what + " is no tensor");
            if (slot == SessionGetInputTypeInfo) inputType_ = typeOf(ort, tensor);
            return shapeOf(ort, tensor, what);
        };
        inputShape_ = shape(SessionGetInputTypeInfo, "input");
        shape(SessionGetOutputTypeInfo, "output");
    } catch (const ModelError& error) {
        throw ModelError(file.string() + ": " + error.what());
    }
}

OnnxSession::~OnnxSession() = default;

bool OnnxSession::takesWholeNumbers() const {
    return inputType_ != kFloat;
}

OnnxSession::Output OnnxSession::run(std::vector<float>& input,
                                     const std::vector<int64_t>& shape) const try {
    const auto& ort = Runtime::instance();
    Owned value(ReleaseValue), answer(ReleaseValue);
    const auto make = [&](auto& numbers) {
        ort.call(CreateTensorWithDataAsOrtValue, static_cast<const void*>(handles_->memory.thing),
                 static_cast<void*>(numbers.data()), numbers.size() * sizeof(numbers[0]),
                 shape.data(), shape.size(), inputType_, &value.thing);
    };
    std::vector<uint8_t> bytes;  // the tensor only points at its numbers
    std::vector<uint16_t> words;
    std::vector<int16_t> signedWords;
    if (inputType_ == kUInt8)
        make(bytes = wholeNumbers<uint8_t>(input));
    else if (inputType_ == kUInt16)
        make(words = wholeNumbers<uint16_t>(input));
    else if (inputType_ == kInt16)
        make(signedWords = wholeNumbers<int16_t>(input));
    else
        make(input);
    const char *in = inputName_.c_str(), *out = outputName_.c_str();
    const void* inputs[] = {value.thing};
    ort.call(Run, handles_->session.thing, static_cast<const void*>(nullptr), &in,
             static_cast<const void* const*>(inputs), size_t{1}, &out, size_t{1}, &answer.thing);
    Owned info(ReleaseTensorTypeAndShapeInfo);
    ort.call(GetTensorTypeAndShape, static_cast<const void*>(answer.thing), &info.thing);
    Output output;
    output.shape = shapeOf(ort, info.thing, "output");
    size_t count = 0;
    ort.call(GetTensorShapeElementCount, static_cast<const void*>(info.thing), &count);
    if (count > static_cast<size_t>(kMostOutputValues))
        throw ModelError("its output has " + std::to_string(count) + " values");
    float* first = nullptr;
    ort.call(GetTensorMutableData, answer.thing, &first);
    output.values.assign(first, first + count);
    return output;
} catch (const ModelError& error) {
    throw ModelError(file_.string() + ": " + error.what());
}

std::string onnxRuntimeVersion() {
    return Runtime::instance().version();
}

}  // namespace atlas::engine
