// SPDX-License-Identifier: Apache-2.0
// What the system says of this machine and of this process; the only place that asks Linux's /proc.
#pragma once

#include <cstdint>
#include <string>

namespace atlas::engine {

/// As /proc/cpuinfo names it; empty where there is none.
std::string processorName();

/// Bytes of a field of /proc/self/status, such as VmRSS or VmHWM (the most so far, mapped pages
/// counted); 0 where the system does not say.
int64_t processMemory(const std::string& field);

/// VmHWM counts anew from here, where the system can do that.
void forgetPeakMemory();

/// 812 MiB, 4.5 GiB.
std::string memoryText(int64_t bytes);

}  // namespace atlas::engine
