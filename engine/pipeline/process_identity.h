// SPDX-License-Identifier: Apache-2.0
// Which process of which machine this is, and whether another one is surely gone; the only place
// that asks the system so.
#pragma once

#include <cstdint>
#include <string>

namespace atlas::engine {

struct ProcessIdentity {
    std::string host;   ///< name of the machine, for a person
    std::string space;  ///< within which `pid` means something: boot and process namespace; may be
                        ///< empty where the system does not say
    int64_t pid = 0;
    int64_t started = 0;  ///< when the process began, in ticks of the system; tells a reused pid
};

ProcessIdentity thisProcess();

/// True only where the other process ran within this same space and is there no more. Of another
/// machine or container nothing can be said: false.
bool isSurelyGone(const ProcessIdentity& other);

}  // namespace atlas::engine
