// SPDX-License-Identifier: Apache-2.0
// The files of a run: written when it is published, read by the window and by scripts.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline/run_request.h"
#include "engine/pipeline/stitcher.h"

namespace atlas::engine {

/// One classified context, as in tiles.csv.
struct ContextRow {
    Context context;
    std::vector<float> probabilities;
    std::vector<float> meanMass;
};

/// What a whole-image run adds to its record.
struct WholeRecord {
    std::vector<float> logits, baseline;
    int scales = 0, scalesWithWeights = 0;
    double windowsSkipped = 0;
    int64_t tokenBytes = 0;
    double scratchTraffic = 0;  ///< bytes read and written, in multiples of tokenBytes
    bool usedScratchFile = false;
    bool masked = false;  ///< background tokens took no part
};

/// Everything that the files of a run are made from.
struct RunRecord {
    RunRequest request;
    RunPlan plan;
    ModelConfig model;
    std::string runId, modelSha256, sourceFingerprint;
    std::string device, versions, startedAt;
    double seconds = 0;
    RunState state = RunState::Done;
    int contextsAtOnce = 0;       ///< that the network was given
    int64_t unreadableParts = 0;  ///< of the file
    std::vector<std::string> warnings;
    std::vector<Finding> findings;      ///< before and after the run
    std::vector<ContextRow> rows;       ///< in plan order
    std::vector<int64_t> tokenSidesPx;  ///< of each scale; empty: those of the model's contexts
    std::optional<WholeRecord> whole;

    std::vector<int64_t> tokenSides() const {
        return tokenSidesPx.empty() ? model.tokenSidesPx() : tokenSidesPx;
    }
};

/// Hex SHA-256 of a file; empty when stopped. Throws std::runtime_error.
std::string sha256Of(std::string_view bytes);
std::string fileSha256(const std::filesystem::path& path, const std::stop_token& stop = {});
/// Cheap identity of an image: its name, size, and first and last MiB. Throws std::runtime_error.
std::string sourceFingerprint(const std::string& path);
/// A UUID (version 5 layout) that follows from `text` alone.
std::string derivedUuid(const std::string& text);

/// `out`/<file name with extension>.atlas
std::filesystem::path runRoot(const std::filesystem::path& out, const std::string& image);

/// Writes classes.tif, prob.tif, attention_s<k>.tif, mass.tif, tiles.csv, tiles_qupath.geojson,
/// overlay.png, summary.json and run.json into `dir`, and tiles.geojson where the image lies on a
/// map. Throws with path and cause.
void writeRunFiles(const std::filesystem::path& dir, const RunRecord& record,
                   const RunLayers& layers, const io::ColorSource& image);

/// Class that covers the largest area; empty where nothing is classified.
std::string mostFrequentClass(const RunRecord& record, const RunLayers& layers);

/// What a list of runs says of one, without its rasters.
struct RunSummary {
    std::string mostFrequentClass;
    int64_t unreadableParts = 0;
    int64_t contexts = 0;
    std::vector<std::string> warnings;
};
/// Reads run.json and summary.json. Throws std::runtime_error with path and cause.
RunSummary readRunSummary(const std::filesystem::path& dir);

/// A classified context read back: its box in level-0 pixels, cut to the image.
struct TileRow {
    double x = 0, y = 0, width = 0, height = 0;
    std::vector<float> probabilities;
    std::vector<float> meanMass;  ///< a band of mass.tif each; empty without it
    int best() const;
    /// Share of the contexts that touch it (up to eight) whose class is another one; -1: none does.
    double disagreement = -1;
};

/// A finished or partial run read back.
struct LoadedRun {
    std::filesystem::path dir;
    std::string state, image, modelName, modelDir;
    std::vector<std::string> classNames;
    std::vector<std::array<uint8_t, 3>> classColors;
    std::vector<double> tokenSidesUm;    ///< one a scale, finest first
    std::vector<std::string> mapNames;   ///< as in ModelConfig
    std::vector<std::string> massNames;  ///< as in ModelConfig
    bool ground = false;
    bool whole = false;  ///< the image was one context
    double overlap = 0;
    bool mask = true;
    std::string maskUsed;  ///< what decided on the contexts, as RunPlan::mask; empty: not recorded
    TissueRule tissueRule = TissueRule::Overlap;
    std::optional<double> resolutionUm;  ///< as the user gave it
    InputChoice input;                   ///< what the network was given
    io::Rect region;                     ///< level-0 pixels
    RunLayers layers;
    std::vector<TileRow> tiles;  ///< as in tiles.csv

    /// Level-0 pixels that each class covers, as summary.json and the picture have them; of
    /// whole-image runs what each place speaks for most.
    std::vector<double> areas() const;

    /// `base` with the model and the parameters that decide on the contexts of this run.
    RunRequest sameContexts(RunRequest base) const;
};

/// Throws std::runtime_error with path and cause.
LoadedRun loadRun(const std::filesystem::path& dir);

/// The name of the model of a run, without reading its rasters. Throws like loadRun().
std::string runModelName(const std::filesystem::path& dir);

/// Finished runs of an image below `out`, newest first.
std::vector<std::filesystem::path> findRuns(const std::filesystem::path& out,
                                            const std::string& image);

}  // namespace atlas::engine
