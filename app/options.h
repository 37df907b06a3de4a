// SPDX-License-Identifier: Apache-2.0
// Words of the command line turned into values; each throws std::invalid_argument with the reason.
#pragma once

#include <filesystem>
#include <string>

#include "app/command_line.h"
#include "engine/nn/classifier.h"
#include "io/reader_registry.h"

namespace atlas::app {

io::AlphaChoice parseAlpha(const std::string& text);
/// Bytes of 4G, 512M, 800000K; an empty text: three quarters of the machine's memory.
int64_t parseMemory(const std::string& text);
/// X,Y,W,H in level-0 pixels.
io::Rect parseRegion(const std::string& text);

/// Remembers that the user trusts the code of a model (--trust-model), and says so on stderr the
/// first time. Does nothing where a model's weights are plain numbers.
void trustModel(const std::filesystem::path& model);

/// How to open a model with these arguments; `trust`: code in it is trusted from now on.
engine::ClassifierOptions optionsOf(const std::filesystem::path& model,
                                    const EngineArguments& arguments, bool trust);

}  // namespace atlas::app
