// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/gpu_reason.h"

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>

#include <filesystem>
#include <fstream>

#include "engine/nn/shared_library.h"

namespace atlas::engine {
namespace {

// Of cudaError_t and CUresult.
enum : int {
    kInsufficientDriver = 35,
    kStubLibrary = 34,
    kInvalidDeviceFunction = 98,
    kNoDevice = 100,
    kInvalidDevice = 101,
    kNoBinaryForGpu = 209,
    kInvalidPtx = 218,
    kJitCompilerNotFound = 221,
    kUnsupportedPtxVersion = 222,
    kSystemDriverMismatch = 803,
    kCompatNotSupported = 804,
};
constexpr int kLeastMajor = 8;  // compute capability of the kernels: cp.async, bfloat16

const char* const kUpdate = "update the NVIDIA driver";
const char* const kSeeSmi =
    "see what nvidia-smi says; CUDA_VISIBLE_DEVICES may hide the GPU, and a "
    "container has to be started with it";

int64_t torchCuda() {
    try {
        return at::globalContext().versionCUDART();
    } catch (const std::exception&) {  // a build without CUDA
        return 0;
    }
}

bool nvidiaOnTheBus() {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/bus/pci/devices", error)) {
        std::string vendor, kind;
        std::ifstream(entry.path() / "vendor") >> vendor;
        std::ifstream(entry.path() / "class") >> kind;
        if (vendor == "0x10de" && kind.rfind("0x03", 0) == 0) return true;  // a display controller
    }
    return false;
}

void askDriver(GpuFacts& facts) {
    std::string problem;
    void* library = openLibrary({"libcuda.so.1"}, problem);
    if (!library) return;
    const auto version = symbolOf<int (*)(int*)>(library, "cuDriverGetVersion");
    const auto init = symbolOf<int (*)(unsigned)>(library, "cuInit");
    const auto text = symbolOf<int (*)(int, const char**)>(library, "cuGetErrorString");
    if (!version || !init || version(&facts.driverCuda) != 0) return;
    facts.driverError = init(0);
    const char* words = nullptr;
    if (facts.driverError != 0 && text && text(facts.driverError, &words) == 0 && words)
        facts.driverText = words;
}

std::string quoted(const std::string& text) {
    return text.empty() ? text : " (\"" + text + "\")";
}

std::string tooOld(int driver, int64_t needed, const std::string& who) {
    return "the NVIDIA driver is too old: it knows CUDA " + cudaVersionText(driver) + ", and " +
           who + " needs CUDA " + cudaVersionText(needed) + "; " + kUpdate;
}

std::string capability(const AtlasCudaReport& report) {
    return std::to_string(report.major) + "." + std::to_string(report.minor);
}

std::string pluginOnGpu(const AtlasCudaReport& report) {
    const std::string said = " (" + std::string(report.call) + ": " + report.text + ")";
    switch (gpuProblemOf(report.error, report.driver)) {
        case GpuProblem::None:
            return {};
        case GpuProblem::NoGpu:
            return std::string("CUDA shows it no GPU") + said + "; " + kSeeSmi;
        case GpuProblem::NoDriver:
            return "there is no NVIDIA driver" + said + "; install the NVIDIA driver";
        case GpuProblem::OldDriver:
            return tooOld(report.driver, report.runtime, "the plug-in") + said;
        case GpuProblem::MixedDriver:
            return "the NVIDIA driver and its libraries have different versions" + said +
                   "; restart the machine";
        case GpuProblem::NoKernelImage:
            if (report.major < kLeastMajor)
                return "it has no kernels for this GPU of compute capability " +
                       capability(report) + said +
                       ", since they need 8.0; LibTorch's operations do its work";
            return "it was built without kernels for this GPU of compute capability " +
                   capability(report) + said +
                   "; build it with CMAKE_CUDA_ARCHITECTURES=" + std::to_string(report.major) +
                   std::to_string(report.minor);
        case GpuProblem::Other:
            break;
    }
    return "CUDA fails" + said + "; " + kSeeSmi;
}

}  // namespace

GpuProblem gpuProblemOf(int error, int driverCuda) {
    switch (error) {
        case 0:
            return GpuProblem::None;
        case kInsufficientDriver:
            return driverCuda == 0 ? GpuProblem::NoDriver : GpuProblem::OldDriver;
        case kUnsupportedPtxVersion:
        case kCompatNotSupported:
            return GpuProblem::OldDriver;
        case kStubLibrary:
            return GpuProblem::NoDriver;
        case kNoDevice:
        case kInvalidDevice:
            return GpuProblem::NoGpu;
        case kInvalidDeviceFunction:
        case kNoBinaryForGpu:
        case kInvalidPtx:
        case kJitCompilerNotFound:
            return GpuProblem::NoKernelImage;
        case kSystemDriverMismatch:
            return GpuProblem::MixedDriver;
        default:
            return GpuProblem::Other;
    }
}

std::string cudaVersionText(int64_t version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

GpuFacts gpuFacts() {
    GpuFacts facts;
    facts.torchCuda = torchCuda();
    if (at::globalContext().hasCUDA()) facts.torchDevices = at::accelerator::deviceCount();
    if (facts.torchDevices > 0) return facts;
    facts.hardware = nvidiaOnTheBus();
    if (facts.torchCuda > 0) askDriver(facts);
    return facts;
}

std::string whyNoGpu(const GpuFacts& f) {
    if (f.torchDevices > 0) return {};
    if (f.torchCuda == 0)
        return f.hardware ? "this LibTorch is a build without CUDA, although an NVIDIA GPU is "
                            "there; install a LibTorch with CUDA"
                          : "there is no NVIDIA GPU, and this LibTorch is a build without CUDA";
    if (f.driverCuda == 0 && !f.hardware) return "there is no NVIDIA GPU";
    if (f.driverCuda == 0)
        return "an NVIDIA GPU is there, but no driver for it; install the NVIDIA driver";
    const std::string said = quoted(f.driverText);
    switch (gpuProblemOf(f.driverError, f.driverCuda)) {
        case GpuProblem::NoGpu:
            return std::string("the NVIDIA driver shows no GPU") + said + "; " + kSeeSmi;
        case GpuProblem::NoDriver:
            return "there is no working NVIDIA driver" + said + "; install the NVIDIA driver";
        case GpuProblem::MixedDriver:
            return "the NVIDIA driver and its libraries have different versions" + said +
                   "; restart the machine";
        case GpuProblem::OldDriver:
        case GpuProblem::None:
            break;
        default:
            return std::string("the NVIDIA driver fails") + said + "; " + kSeeSmi;
    }
    // Within a major version, older drivers do.
    if (f.driverError != 0 || f.driverCuda / 1000 < f.torchCuda / 1000)
        return tooOld(f.driverCuda, f.torchCuda, "this LibTorch") + said;
    return std::string("LibTorch shows no GPU, although the NVIDIA driver works; ") + kSeeSmi;
}

std::string whyGpuFails(const std::string& gpu, const std::string& error) {
    const auto says = [&](const char* words) { return error.find(words) != std::string::npos; };
    const std::string said = quoted(error.substr(0, error.find('\n')));
    if (says("no kernel image") || says("invalid device function"))
        return "this LibTorch has no kernels for " + gpu + said +
               "; install a LibTorch that was built for this GPU";
    if (says("out of memory"))
        return gpu + " has no memory left" + said + "; end the programs that use it";
    if (says("unsupported toolchain") || says("driver version is insufficient"))
        return "the NVIDIA driver is too old for this LibTorch on " + gpu + said + "; " + kUpdate;
    return gpu + " fails" + said + "; " + kSeeSmi;
}

std::string whyNoPlugin(const PluginFacts& f) {
    if (!f.found && f.openProblem.empty() && !f.noGpu.empty()) return f.noGpu;
    if (!f.found && f.openProblem.empty())
        return "it was not found; build it with the preset cuda, or name it in "
               "ATLASSCOPE_CUDA_PLUGIN";
    if (!f.found) return "it cannot be loaded: " + f.openProblem;
    if (!f.complete) return "it lacks a function; build it with this program";
    if (f.version != kAtlasMsaVersion)
        return "it was built for another version (" + std::to_string(f.version) + ", not " +
               std::to_string(kAtlasMsaVersion) + "); build it with this program";
    if (!f.noGpu.empty()) return f.noGpu;
    if (const std::string problem = pluginOnGpu(f.report); !problem.empty()) return problem;
    if (!f.failed.empty())
        return "a call of its self-test failed (" + f.failed.substr(0, f.failed.find('\n')) +
               "); LibTorch's operations do its work; " + kSeeSmi;
    if (!f.wrong.empty())
        return "its self-test gave wrong results, " + f.wrong +
               "; LibTorch's operations do its work; please report this with the output of "
               "atlasscope doctor";
    return {};
}

}  // namespace atlas::engine
