// SPDX-License-Identifier: Apache-2.0
// How the plug-in starts a kernel: on which GPU, with how much shared memory, and what is said when
// that fails. `Api` is the CUDA runtime (atlas_cuda.cu), or a test's stand-in for it; its calls
// return the numbers of cudaError_t:
//
//     int currentDevice(int* device);    cudaGetDevice
//     int useDevice(int device);         cudaSetDevice
//     int allowShared(const void* kernel, int bytes);
//     int takeError();                   cudaGetLastError: reads the thread's error and clears it
//     const char* name(int error);       cudaGetErrorName
//     const char* text(int error);       cudaGetErrorString
#pragma once

#include <cstdio>

namespace atlas::engine {

inline constexpr int kSharedWithoutAsking = 48 * 1024;  ///< bytes of a block

/// "call: text (name)". It lasts until the thread's next failure.
template <class Api>
const char* cudaCause(Api& api, const char* call, int error) {
    static thread_local char cause[256];
    std::snprintf(cause, sizeof cause, "%s: %s (%s)", call, api.text(error), api.name(error));
    return cause;
}

/// The calling thread works on another GPU while alive.
template <class Api>
class DeviceScope {
  public:
    DeviceScope(Api& api, int device) : api_(api) {
        error_ = api_.currentDevice(&before_);
        if (error_ == 0 && before_ != device) {
            error_ = api_.useDevice(device);
            moved_ = error_ == 0;
        }
        if (error_ != 0) api_.takeError();
    }
    ~DeviceScope() {
        if (moved_ && api_.useDevice(before_) != 0) api_.takeError();
    }
    DeviceScope(const DeviceScope&) = delete;
    DeviceScope& operator=(const DeviceScope&) = delete;

    int error() const { return error_; }

  private:
    Api& api_;
    int before_ = 0, error_ = 0;
    bool moved_ = false;
};

/// Calls `start`, which launches `kernel` with `sharedBytes` of dynamic shared memory, on `device`.
/// nullptr, or the cause of this launch: an error that an earlier call left behind is none, and
/// none is left behind.
template <class Api, typename Start>
const char* launchOn(Api& api, int device, const void* kernel, int sharedBytes,
                     const Start& start) {
    const DeviceScope<Api> scope(api, device);
    if (scope.error() != 0) return cudaCause(api, "cudaSetDevice", scope.error());
    api.takeError();
    // More has to be asked for; once a kernel and device would do, but it costs little.
    if (sharedBytes > kSharedWithoutAsking)
        if (const int error = api.allowShared(kernel, sharedBytes)) {
            api.takeError();
            return cudaCause(api, "cudaFuncSetAttribute", error);
        }
    start();
    const int error = api.takeError();
    return error == 0 ? nullptr : cudaCause(api, "kernel launch", error);
}

}  // namespace atlas::engine
