// SPDX-License-Identifier: Apache-2.0
// The subcommands. Each prints to stdout, errors to stderr, and returns the exit code.
#pragma once

#include <string>
#include <vector>

namespace atlas::app {

struct InfoArguments {
    std::vector<std::string> images;
    bool readAll = false, json = false;
    std::string alpha = "auto";
};
int runInfo(const InfoArguments& arguments);

/// Where and how networks run; the same words everywhere.
struct EngineArguments {
    std::string device = "auto", precision = "fp32";
    std::string memory;  ///< 4G, 512M; empty: three quarters of the machine's
    int threads = 0;     ///< 0: as many as there are cores
};

struct ClassifyArguments {
    std::vector<std::string> images;  ///< files, folders or synthetic:...
    EngineArguments engine;
    std::string model, out, resolution, region, alpha = "auto", context = "model";
    std::string tissueRule = "overlap";
    std::string bands, stretch;  ///< empty: chosen by what the image is
    double overlap = 0;
    bool trustModel = false;  ///< TorchScript of this file may run, from now on
    bool attention = false, noMask = false, json = false;
};
int runClassify(const ClassifyArguments& arguments);

struct SampleArguments {
    long long size = 8192;
    unsigned long long seed = 7;
    std::string out;
    bool json = false;
};
int runSample(const SampleArguments& arguments);

struct SelftestArguments {
    bool json = false;
};
int runSelftest(const SelftestArguments& arguments);

struct BenchArguments {
    std::string filter, compare, device = "cpu";
    std::string python;  ///< interpreter with torch: times torch.compile of the same networks too
    double seconds = 4;
    int threads = 0;
    bool all = false, json = false;
};
int runBench(const BenchArguments& arguments);

struct BenchTilesArguments {
    std::string image;
    double seconds = 4;
    bool json = false;
};
int runBenchTiles(const BenchTilesArguments& arguments);

struct BenchViewerArguments {
    std::string image = "synthetic:size=100000,seed=1";
    int frames = 600, delay = 100;
    double limit = 300;  // seconds
    bool json = false;
};
int runBenchViewer(const BenchViewerArguments& arguments);

struct BenchProbeArguments {
    std::string model = "scenes", image = "synthetic:size=8192,seed=1182";
    int repeats = 20;
    bool json = false;
};
int runBenchProbe(const BenchProbeArguments& arguments);

/// Throws, saying what to do, where there is no display for a window.
void requireDisplay();

struct TrainArguments {
    EngineArguments engine;  ///< precision empty: the plan's
    std::string data, config, out, validation, start;
    bool json = false;
};
int runTrain(const TrainArguments& arguments);

struct EvalArguments {
    std::string data, model, record;
    EngineArguments engine;
    long long size = 0;
    bool recordPictures = false;  ///< measures the pictures instead of the accuracy
    bool trustModel = false, json = false;
};
int runEval(const EvalArguments& arguments);

struct CompareArguments {
    EngineArguments engine;
    std::vector<std::string> models;
    std::string data;
    bool trustModel = false, json = false;
};
int runCompare(const CompareArguments& arguments);

struct WindowArguments {
    EngineArguments engine;
    std::string image;      ///< opened at once; empty: the welcome page
    std::string model;      ///< chosen in the run panel; empty: the first installed
    std::string steps;      ///< steps file to play
    bool classify = false;  ///< start classifying the image
};
int runWindow(const WindowArguments& arguments, int& argc, char** argv);

}  // namespace atlas::app
