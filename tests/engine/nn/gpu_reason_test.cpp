// SPDX-License-Identifier: Apache-2.0
// Why a GPU is not used, and which one is, from facts that a machine could show.
#include "engine/nn/gpu_reason.h"

#include <gtest/gtest.h>

#include "engine/nn/device.h"
#include "engine/nn/model_error.h"
#include "tests/engine/nn/listener.h"

namespace atlas::engine {
namespace {

using test::Listener;

at::Device gpu(int index) {
    return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
}

// ---- Reasons ----------------------------------------------------------------------------------

std::string withReport(int error, int driver, int major) {
    PluginFacts facts;
    facts.found = true;
    facts.report = {error, 1, driver, 13000, major, 0, "cudaCall", "what CUDA says"};
    return whyNoPlugin(facts);
}

void expectHas(const std::string& text, const std::vector<std::string>& words) {
    for (const auto& word : words)
        EXPECT_NE(text.find(word), std::string::npos) << '"' << word << "\" is not in: " << text;
}

TEST(GpuReason, ThePluginTellsItsCausesApartAndSaysWhatToDo) {
    EXPECT_EQ(withReport(0, 13000, 9), "");
    expectHas(withReport(100, 13000, 0), {"shows it no GPU", "what CUDA says", "nvidia-smi"});
    expectHas(withReport(35, 0, 0), {"no NVIDIA driver", "install the NVIDIA driver"});
    expectHas(withReport(35, 12040, 9),
              {"too old", "knows CUDA 12.4", "needs CUDA 13.0", "update", "what CUDA says"});
    expectHas(withReport(222, 12080, 12), {"too old", "update"});
    expectHas(withReport(209, 13000, 7), {"compute capability 7.0", "cudaCall", "need 8.0"});
    expectHas(withReport(209, 13000, 10),
              {"built without kernels", "CMAKE_CUDA_ARCHITECTURES=100", "what CUDA says"});
    expectHas(withReport(803, 13000, 9), {"different versions", "restart"});
    expectHas(withReport(999, 13000, 9), {"CUDA fails", "what CUDA says"});
    PluginFacts facts;
    expectHas(whyNoPlugin(facts), {"not found", "preset cuda"});
    facts.noGpu = "there is no NVIDIA GPU";  // then nobody has to build it
    EXPECT_EQ(whyNoPlugin(facts), facts.noGpu);
    facts.openProblem = "libcudart.so.13: cannot open shared object file";
    expectHas(whyNoPlugin(facts), {"cannot be loaded", facts.openProblem});
}

TEST(GpuReason, LibTorchTellsItsCausesApartAndSaysWhatToDo) {
    EXPECT_EQ(whyNoGpu({.torchDevices = 1, .torchCuda = 13000}), "");
    expectHas(whyNoGpu({}), {"no NVIDIA GPU", "without CUDA"});
    expectHas(whyNoGpu({.hardware = true}), {"without CUDA", "although", "install a LibTorch"});
    EXPECT_EQ(whyNoGpu({.torchCuda = 13000}), "there is no NVIDIA GPU");
    expectHas(whyNoGpu({.torchCuda = 13000, .hardware = true}), {"no driver", "install"});
    expectHas(whyNoGpu({.torchCuda = 13000,
                        .driverCuda = 13000,
                        .driverError = 100,
                        .driverText = "no CUDA-capable device is detected"}),
              {"shows no GPU", "no CUDA-capable device is detected", "CUDA_VISIBLE_DEVICES"});
    expectHas(whyNoGpu({.torchCuda = 13000, .driverCuda = 12040}),
              {"too old", "knows CUDA 12.4", "needs CUDA 13.0", "update"});
    expectHas(whyNoGpu({.torchCuda = 13000, .driverCuda = 13000, .driverError = 803}),
              {"different versions", "restart"});
    expectHas(whyNoGpu({.torchCuda = 12080, .driverCuda = 13000}), {"although", "driver works"});
    // Some minor version of the same major one is enough.
    EXPECT_EQ(whyNoGpu({.torchCuda = 12080, .driverCuda = 12000}).find("too old"),
              std::string::npos);
}

TEST(GpuReason, AGpuThatFailsIsTold) {
    expectHas(whyGpuFails("GPU 1", "CUDA error: no kernel image is available for execution\nmore"),
              {"no kernels for GPU 1", "no kernel image is available", "built for this GPU"});
    expectHas(whyGpuFails("GPU 0", "CUDA out of memory. Tried"), {"no memory left", "end the"});
    expectHas(whyGpuFails("GPU 0", "CUDA error: unspecified launch failure"),
              {"fails", "unspecified launch failure", "nvidia-smi"});
    EXPECT_EQ(whyGpuFails("GPU 1", "one\ntwo").find("two"), std::string::npos);
}

// ---- The choice -------------------------------------------------------------------------------

GpuMachine machineOf(std::vector<std::string> errors) {
    return {[n = static_cast<int64_t>(errors.size())] {
                return GpuFacts{.torchDevices = n, .torchCuda = 13000};
            },
            [errors](int64_t index) { return errors[static_cast<size_t>(index)]; },
            [](int64_t index) { return "plug-in of " + std::to_string(index); }};
}

std::string refusal(const std::string& request, const GpuMachine& machine) {
    try {
        chooseDevice(request, machine);
    } catch (const ModelError& error) {
        return error.what();
    }
    return {};
}

TEST(ChooseDevice, TakesTheFirstGpuThatWorks) {
    Listener listener;
    const std::string broken = "CUDA error: no kernel image is available for execution";
    const DeviceChoice second = chooseDevice("auto", machineOf({broken, ""}));
    EXPECT_EQ(second.device, gpu(1));
    EXPECT_EQ(second.reason, "GPU 1 (plug-in of 1)");
    EXPECT_FALSE(second.ownKernels);
    expectHas(listener.all(), {"GPU 0", "no kernel image"});
    const DeviceChoice none = chooseDevice("auto", machineOf({broken}));
    EXPECT_TRUE(none.device.is_cpu());
    EXPECT_TRUE(none.ownKernels);
    expectHas(none.reason, {"CPU (", "GPU 0", "built for this GPU"});
    expectHas(chooseDevice("", machineOf({})).reason, {"CPU (there is no NVIDIA GPU)"});
}

TEST(ChooseDevice, AGpuThatWasAskedForIsUsedOrRefused) {
    Listener listener;
    const GpuMachine machine = machineOf({"", "CUDA error: unspecified launch failure"});
    EXPECT_EQ(chooseDevice("cuda", machine).device, gpu(0));
    EXPECT_EQ(chooseDevice("cuda:0", machine).reason, "GPU 0 (plug-in of 0)");
    expectHas(refusal("cuda:1", machine), {"cuda:1 cannot be used", "unspecified launch failure"});
    expectHas(refusal("cuda:2", machine), {"there are 2 GPUs"});
    expectHas(refusal("cuda:", machine), {"not a number"});
    expectHas(refusal("cuda:x", machine), {"not a number"});
    expectHas(refusal("cuda", machineOf({})), {"cuda cannot be used", "no NVIDIA GPU"});
}

}  // namespace
}  // namespace atlas::engine
