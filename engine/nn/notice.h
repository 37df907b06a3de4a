// SPDX-License-Identifier: Apache-2.0
// What a person should know although the work goes on, such as the cause of a call that failed and
// was done in another way.
#pragma once

#include <functional>
#include <string>

namespace atlas::engine {

using NoticeSink = std::function<void(const std::string& sentence)>;

/// Hands each sentence to the sink once in the life of the program; by default that writes it to
/// standard error. Thread-safe.
void notice(const std::string& sentence);

/// Replaces the sink and forgets what was said; returns the one before. An empty one stands for
/// standard error.
NoticeSink setNoticeSink(NoticeSink sink);

}  // namespace atlas::engine
