// SPDX-License-Identifier: Apache-2.0
// How the plug-in starts kernels, with a stand-in for the CUDA runtime.
#include "engine/kernels/cuda/launch.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace atlas::engine {
namespace {

/// As the runtime does it: the thread has a device, a failing call leaves its error behind, and
/// launches report theirs in no other way.
struct FakeRuntime {
    int device = 0, devices = 2, refuseShared = 0, refuseLaunch = 0, left = 0;
    std::vector<int> launchedOn;

    int currentDevice(int* to) {
        *to = device;
        return 0;
    }
    int useDevice(int to) {
        if (to >= devices) return left = 101;
        device = to;
        return 0;
    }
    int allowShared(const void*, int) { return refuseShared ? left = refuseShared : 0; }
    int takeError() { return std::exchange(left, 0); }
    const char* name(int error) { return error == 101 ? "cudaErrorInvalidDevice" : "cudaErrorX"; }
    const char* text(int) { return "what CUDA says"; }

    void launch() {
        launchedOn.push_back(device);
        if (refuseLaunch) left = refuseLaunch;
    }
};

const char* launched(FakeRuntime& runtime, int device, int sharedBytes) {
    return launchOn(runtime, device, nullptr, sharedBytes, [&] { runtime.launch(); });
}

TEST(CudaLaunch, RunsOnTheGpuOfItsTensorsAndGoesBack) {
    FakeRuntime runtime;
    EXPECT_EQ(launched(runtime, 1, 0), nullptr);
    EXPECT_EQ(launched(runtime, 0, 80000), nullptr);
    EXPECT_EQ(runtime.launchedOn, (std::vector<int>{1, 0}));
    EXPECT_EQ(runtime.device, 0);
    runtime.refuseLaunch = 700;
    EXPECT_NE(launched(runtime, 1, 0), nullptr);
    EXPECT_EQ(runtime.device, 0) << "after a failure too";
}

TEST(CudaLaunch, AFailureIsToldOnceAndByItsOwnCall) {
    FakeRuntime runtime;
    runtime.refuseShared = 1;
    EXPECT_STREQ(launched(runtime, 0, 80000), "cudaFuncSetAttribute: what CUDA says (cudaErrorX)");
    EXPECT_TRUE(runtime.launchedOn.empty());
    EXPECT_EQ(runtime.left, 0) << "an error is left behind for the next launch";
    runtime.refuseShared = 0;
    EXPECT_EQ(launched(runtime, 0, 80000), nullptr);
    EXPECT_STREQ(launched(runtime, 7, 0), "cudaSetDevice: what CUDA says (cudaErrorInvalidDevice)");
    EXPECT_EQ(launched(runtime, 1, 0), nullptr);
    runtime.refuseLaunch = 209;
    EXPECT_STREQ(launched(runtime, 0, 0), "kernel launch: what CUDA says (cudaErrorX)");
}

TEST(CudaLaunch, WhatAnotherCallLeftBehindIsNoFailure) {
    FakeRuntime runtime;
    runtime.left = 2;
    EXPECT_EQ(launched(runtime, 0, 0), nullptr);
}

}  // namespace
}  // namespace atlas::engine
