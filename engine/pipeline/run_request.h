// SPDX-License-Identifier: Apache-2.0
// What to classify and how; and what a run reports while it goes on. Plain values.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/pipeline/finding.h"
#include "engine/pipeline/input_choice.h"
#include "io/color_source.h"
#include "io/reader_registry.h"

namespace atlas::engine {

/// Which contexts of a microscope picture are classified.
enum class TissueRule {
    Overlap,  ///< those that hold some tissue: at least 5 % of what lies in the image
    Wsinfer   ///< WSInfer's: those whose centre lies inside of its tissue polygon
};
const char* tissueRuleName(TissueRule rule);
/// Throws std::invalid_argument for other words than those of tissueRuleName().
TissueRule parseTissueRule(const std::string& name);

struct RunRequest {
    std::string image;
    std::filesystem::path modelDir;
    std::filesystem::path out;           ///< root of the run folders
    std::optional<double> resolutionUm;  ///< given by the user, micrometres a level-0 pixel
    double overlap = 0;                  ///< share of a context's side, below 0.9
    std::optional<io::Rect> region;      ///< level-0 pixels
    std::string device = "auto";
    std::string precision = "fp32";
    bool attention = true;
    bool mask = true;  ///< leave out contexts without tissue or data
    TissueRule tissueRule = TissueRule::Overlap;
    int batch = 0;            ///< 0: chosen by the size of a context
    bool wholeImage = false;  ///< the region as one context, instead of tiles of the model's size
    int64_t memoryBytes = 0;  ///< for whole images; 0: no limit
    int threads = 0;          ///< 0: as many as there are cores
    std::filesystem::path cache;      ///< folder for what is measured once a machine; may be empty
    std::filesystem::path trustFile;  ///< which exported models the user trusts; may be empty
    io::OpenOptions open;
    InputChoice input;  ///< bands and scaling that the network is given (model_input.h)
};

enum class RunState { Planning, Running, Publishing, Done, Cancelled, Failed };
const char* runStateName(RunState state);

struct RunProgress {
    RunState state = RunState::Planning;
    int64_t done = 0, total = 0;
    double fraction = -1;  ///< of the arithmetic of a whole-image run; below 0: count contexts
    double contextsPerSecond = 0, megapixelsPerSecond = 0;
    double secondsLeft = -1;  ///< below 0: not known yet
    std::string bottleneck;   ///< reading or network
    std::string device;
    std::string input;       ///< what the network is given (modelInputLine()), once it is known
    std::string waitingFor;  ///< "host, process 123" that writes the same run just now, or empty
    std::string mask;  ///< what decided on the contexts, as RunPlan::mask; empty before the plan
    std::string error;
    std::vector<Finding> findings;  ///< what suitability() says, as soon as it is known
};

/// `0.5um`, `0.5 µm`, `0,3m` or `25cm` to micrometres, with a decimal point or comma; throws
/// std::invalid_argument with the reason.
double parseResolution(const std::string& text);

/// "0.5 µm", "0.3 m", "1.2 km": a length with sensible digits and a point in every locale.
std::string lengthText(double um, bool ground);

}  // namespace atlas::engine
