// SPDX-License-Identifier: Apache-2.0
// How work is captured into a graph of a device. `Graph` is at::accelerator::Graph, or a test's
// stand-in for it.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/DeviceGuard.h>

#include <exception>
#include <functional>

#include "engine/nn/device_stream.h"

namespace atlas::engine {

namespace detail {

/// Thread-local: with the global mode, which is LibTorch's own choice, a call of any other thread
/// that waits for a GPU or takes its memory (another model, a training) would break the capture and
/// fail itself.
template <class Graph, class Pool, class Mode>
void beginCapture(Graph& graph, void (Graph::*begin)(Pool, Mode)) {
    (graph.*begin)(Pool{0, 0}, Mode::ThreadLocal);
}
template <class Graph, class Pool>
void beginCapture(Graph& graph, void (Graph::*begin)(Pool)) {  // LibTorch before it had modes
    (graph.*begin)(Pool{0, 0});
}

}  // namespace detail

/// Calls `work` while what it enqueues on `device` goes into `graph` instead. Throws what `work`
/// throws, or why it cannot be captured. `ended`: whether no capture is open any more.
template <class Graph>
void captureOn(Graph& graph, const c10::Device& device, const std::function<void()>& work,
               bool& ended) {
    const c10::DeviceGuard on(device);  // a graph is that of the thread's device and its stream
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.synchronizeDevice(device.index());  // the other stream sees all that went before
    const OtherStream stream(device);
    ended = false;
    detail::beginCapture(graph, &Graph::capture_begin);
    try {
        work();
    } catch (...) {
        try {
            graph.capture_end();
            ended = true;
        } catch (const std::exception&) {  // the first cause is the one to tell
        }
        throw;
    }
    graph.capture_end();
    ended = true;
    guard.synchronizeDevice(device.index());
}

}  // namespace atlas::engine
