// SPDX-License-Identifier: Apache-2.0
// Parity with the golden files: every golden/*.json with an io_file is a test of its own. So is
// every case in the folder ATLASSCOPE_OWN_GOLDEN: golden_external.py makes it before ctest runs.
//
// Tolerance: the JSON's `tolerance`: |mine - expected| <= tol * max(1, peak), `peak` the largest
// magnitude of the tensor; for *_small_values cases tol * peak, so that wrong eps values show.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/nn/atlas_runner.h"
#include "engine/nn/autocast.h"
#include "engine/nn/backbones/halonet.h"
#include "engine/nn/backbones/scalablevit.h"
#include "engine/nn/backbones/vil.h"
#include "engine/nn/safetensors.h"
#include "tests/support/test_data.h"
#include "tests/support/test_device.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const TraceRequest kEverything{
    .attention = true, .contributions = true, .intermediate = true, .probe = {}};

struct Case {
    json record;
    StateDict io, weights;
    AtlasConfig config;
    at::Device device = test::testDevice("cpu").device;

    explicit Case(const fs::path& path) {
        std::ifstream file(path);
        record = json::parse(file);
        io = loadSafetensors(path.parent_path() / record.at("io_file").get<std::string>());
        if (record.contains("image_file"))
            io["image_u8"] =
                loadSafetensors(path.parent_path() / record.at("image_file").get<std::string>())
                    .at("image_u8");
        weights =
            loadSafetensors(path.parent_path() / record.at("weights_file").get<std::string>());
        json settings = record.at("config");
        if (record.contains("window_mapping"))
            settings["window_mapping"] = record["window_mapping"];
        config = AtlasConfig::fromJson(settings);
        weights = test::moved(weights, device);
    }

    at::Tensor input(const std::string& name) const { return io.at(name).to(device, at::kFloat); }

    at::Tensor image() const {
        const auto values = [&](const char* key) {
            auto list = record.at("config").at(key).get<std::vector<float>>();
            return at::from_blob(list.data(), {3, 1, 1}, at::kFloat).clone();
        };
        return ((io.at("image_u8").to(at::kFloat) / 255 - values("image_mean")) /
                values("image_std"))
            .to(device);
    }
};

void keepCorner(const at::Tensor& image, Trace& trace) {
    trace["input_corner"] = image.slice(2, 0, 4).slice(3, 0, 4);
}

Trace runModel(const Case& c) {
    Atlas network(c.config, c.weights);
    network.fold();
    Trace trace;
    const at::Tensor image = c.image();
    keepCorner(image, trace);
    const at::Tensor mask = c.io.contains("token_mask") ? c.io.at("token_mask") : at::Tensor();
    network.forward(image, mask, kEverything, &trace);
    return trace;
}

Trace runStem(const Case& c) {
    WeightReader reader(c.weights);
    AtlasStem stem(reader, "", c.config);
    reader.finish("stem");
    stem.fold();
    Trace trace;
    keepCorner(c.image(), trace);
    stem.forward(c.image(), {}, &trace);
    return trace;
}

Trace runStack(const Case& c) {
    WeightReader reader(c.weights);
    const AtlasStage stage(reader, "", c.config, c.config.stages.at(0));
    TokenMaps tokens = buildTokenMaps(c.input("token_map_f16"), c.config, {});
    Trace trace, inner;
    const auto keep = [&](const std::string& name) {
        for (size_t s = 0; s < tokens.maps.size(); ++s)
            trace[name + std::to_string(s)] =
                toWindows(tokens.maps[s], tokens.scales.geometry[s].window);
    };
    keep("built.scale");
    stage.forward(tokens, {}, kEverything, &inner);
    for (const auto& [name, value] : inner) trace["stage0." + name] = value;
    keep("stage0.scale");
    return trace;
}

Trace runBlock(const Case& c) {
    WeightReader reader(c.weights);
    const AtlasBlock block(reader, "", c.config, c.config.stages.at(0));
    reader.finish("block");
    BlockScales scales;
    scales.geometry = listScales(c.record.at("config").at("token_side").get<int64_t>(),
                                 c.config.windowSide, c.config.poolRatio);
    scales.valid.resize(scales.geometry.size());
    std::vector<at::Tensor> maps;
    for (size_t s = 0; s < scales.geometry.size(); ++s)
        maps.push_back(toRaster(c.input("input_f16.scale" + std::to_string(s)),
                                scales.geometry[s].window, scales.geometry[s].rows));
    Trace trace;
    block.forward(maps, scales, {}, kEverything, &trace);
    for (size_t s = 0; s < maps.size(); ++s)
        trace["output.scale" + std::to_string(s)] = toWindows(maps[s], scales.geometry[s].window);
    return trace;
}

Trace runPosition(const Case& c) {
    StateDict named;  // the block's names, with weights that only the position embedding needs
    AtlasConfig config = c.config;
    config.stages = {AtlasStageConfig{}};
    named = initialAtlasWeights(config, 1);
    StateDict block;
    const std::string prefix = "atlas_models.0.levels.0.blocks.0.";
    for (const auto& [name, tensor] : named)
        if (name.starts_with(prefix)) block[name.substr(prefix.size())] = tensor.to(c.device);
    for (const auto& [name, tensor] : c.weights) block["posemb.0." + name] = tensor;
    WeightReader reader(block);
    const AtlasBlock layer(reader, "", config, config.stages[0]);
    reader.finish("position");
    Trace trace;
    for (const auto& side : c.record.at("config").at("window_sides")) {
        const std::string name = std::to_string(side.get<int64_t>());
        trace["output.side" + name] =
            c.input("input_f16.side" + name) + layer.positionEmbedding(0, side.get<int64_t>());
    }
    return trace;
}

const std::map<std::string, Trace (*)(const Case&)> kKinds{{"model", runModel},
                                                           {"stem", runStem},
                                                           {"stack", runStack},
                                                           {"block", runBlock},
                                                           {"position", runPosition}};

bool isInput(const std::string& name) {
    return name.find("_f16") != std::string::npos || name.ends_with("_u8") || name == "token_mask";
}

/// `some`: what the trace lacks is not compared.
void compare(const Case& c, const Trace& trace, bool some = false) {
    const double tolerance = c.record.at("tolerance").at("rel").get<double>();
    const bool smallValues =
        c.record.at("name").get<std::string>().find("small_values") != std::string::npos;
    at::Tensor saved;
    if (c.record.at("config").contains("saved_windows_of_scale0")) {
        auto list = c.record["config"]["saved_windows_of_scale0"].get<std::vector<int64_t>>();
        saved = at::from_blob(list.data(), {static_cast<int64_t>(list.size())}, at::kLong).clone();
    }
    int compared = 0;
    for (const auto& [name, expected] : c.io) {
        if (isInput(name) || (some && !trace.contains(name))) continue;
        ASSERT_TRUE(trace.contains(name)) << name << " was not computed";
        at::Tensor mine = trace.at(name).to(at::kCPU, at::kFloat);
        if (saved.defined() && name.ends_with(".scale0") && !name.starts_with("contributions"))
            mine = mine.index_select(0, saved);
        ASSERT_EQ(mine.sizes(), expected.sizes()) << name;
        const double peak = expected.abs().max().to(at::kFloat).item<double>();
        const double gap = (mine - expected).abs().max().item<double>();
        EXPECT_LE(gap, tolerance * (smallValues ? peak : std::max(1.0, peak))) << name;
        ++compared;
    }
    EXPECT_GT(compared, 0);
}

/// The processor's own path and that of devices: everything they give, by the same tolerance.
void compareRunner(const Case& c) {
    SCOPED_TRACE("AtlasRunner");
    Atlas network(c.config, c.weights);
    network.fold();
    const at::Tensor mask = c.io.contains("token_mask") ? c.io.at("token_mask") : at::Tensor();
    const RunnerRequest request{.attention = true, .contributions = true, .probe = {}};
    if (c.device.is_cpu()) {
        const auto output = AtlasRunner(network).run(c.image(), mask, request);
        ASSERT_TRUE(output.trace.contains("logits") && output.trace.contains("baseline"));
        compare(c, output.trace, true);
    }
    SCOPED_TRACE("on a device");
    RunnerOptions options;
    options.deviceBytes = 1;  // tiles of the stem, tokens in the host's memory
    compare(c, AtlasRunner::onDevice(network).run(c.image(), mask, request, options).trace, true);
}

// ---- Backbones --------------------------------------------------------------------------------

/// |mine - expected| <= 2e-4 * max(1, peak), as `suggested_tolerance` says, for every tensor.
void compareBackbone(const StateDict& io, const std::string& prefix, const Trace& trace) {
    int compared = 0;
    for (const auto& [name, expected] : io) {
        if (!name.starts_with(prefix) || name.ends_with("input")) continue;
        const std::string key = name.substr(prefix.size());
        ASSERT_TRUE(trace.contains(key)) << name << " was not computed";
        const at::Tensor mine = trace.at(key).cpu();
        ASSERT_EQ(mine.sizes(), expected.sizes()) << name;
        const double peak = expected.abs().max().item<double>();
        EXPECT_LE((mine - expected).abs().max().item<double>(), 2e-4 * std::max(1.0, peak)) << name;
        ++compared;
    }
    EXPECT_GT(compared, 0) << prefix;
}

StateDict below(const StateDict& weights, const std::string& prefix) {
    StateDict part;
    for (const auto& [name, tensor] : weights)
        if (name.starts_with(prefix)) part[name.substr(prefix.size())] = tensor;
    return part;
}

at::Tensor runVariant(const std::string& system, const json& v, WeightReader& reader,
                      const at::Tensor& x, BackboneTrace& trace) {
    const int64_t height = v.at("height"), width = v.at("width");
    if (system == "halonet") {
        const int64_t dim = v.at("dim");
        return HaloAttention(reader, "", HaloOptions::fromJson(v), dim, v.value("dim_out", dim))
            .forward(x, &trace, "", nullptr);
    }
    if (system == "vil") {
        VilAttention::Options o;
        o.stage.heads = v.at("num_heads");
        o.stage.dim = v.at("dim");
        o.stage.globals = v.at("num_global_tokens");
        o.stage.sliding = v.at("attention") != "full";
        o.stage.window = v.value("window", 1);
        o.maskRule = v.value("mask_rule", 0);
        o.neighbourMode = v.value("neighbour_mode", 0);
        o.globalsOnly = v.value("global_tokens_only", false);
        o.bias = v.at("relative_position_bias");
        o.height = height;
        o.width = width;
        return VilAttention(reader, "", o).forward(x, height, width, nullptr);
    }
    const int64_t dim = v.at("dim"), heads = v.at("num_heads");
    const bool bias = v.at("qkv_bias");
    if (v.at("attention") == "iwsa")
        return InteractiveAttention(reader, "", dim, heads, v.at("window_size"), bias)
            .forward(x, height, width, &trace, "");
    ScalableViTConfig::Stage stage;
    stage.dim = dim;
    stage.heads = heads;
    stage.reduction = v.at("spatial_reduction");
    stage.channelRatio = v.at("channel_ratio");
    return ScalableAttention(reader, "", stage, bias)
        .forward(x, height, width, &trace, "", nullptr);
}

void runBackboneCase(const fs::path& path, const json& record) {
    const at::Device device = test::testDevice("cpu").device;
    const StateDict io = loadSafetensors(fs::path(path).replace_extension(".io.safetensors")),
                    weights = test::moved(
                        loadSafetensors(fs::path(path).replace_extension(".weights.safetensors")),
                        device);
    const auto system = record.at("system").get<std::string>();
    if (record.at("kind") == "model") {
        const auto network = Backbone::make(system, record, weights);
        BackboneTrace trace;
        trace.intermediate = trace.attention = true;
        network->forward(io.at("input").to(device), &trace);
        compareBackbone(io, "", trace.values);
        EXPECT_EQ(trace.maps.size(), network->maps().size());
        return;
    }
    for (const auto& v : record.at("variants")) {
        const auto prefix = v.at("prefix").get<std::string>();
        SCOPED_TRACE(prefix);
        // The layers' names begin with a full stop, as below a block.
        StateDict mine;
        for (const auto& [name, tensor] : below(weights, prefix)) mine["." + name] = tensor;
        WeightReader reader(mine);
        BackboneTrace trace;
        trace.intermediate = true;
        trace.values["output"] =
            runVariant(system, v, reader, io.at(prefix + "input").to(device), trace);
        reader.finish(prefix);
        compareBackbone(io, prefix, trace.values);
    }
}

class GoldenTest : public testing::Test {
  public:
    explicit GoldenTest(fs::path path) : path_(std::move(path)) {}

    void TestBody() override {
        const at::NoGradGuard noGradient;
        ATLAS_REQUIRE_DEVICE(test::testDevice("cpu"));
        std::ifstream file(path_);
        const json record = json::parse(file);
        const std::string kind = record.value("kind", "unknown");
        const std::string name = path_.stem().string();
        if (record.contains("system")) return runBackboneCase(path_, record);
        ASSERT_TRUE(kKinds.contains(kind)) << name << " is of kind " << kind;
        const Case c(path_);
        const Autocast autocast(c.record.at("dtype") == "bfloat16_autocast", c.device.type());
        compare(c, kKinds.at(kind)(c));
        if (kind == "model" && c.record.at("dtype") != "bfloat16_autocast") compareRunner(c);
    }

  private:
    fs::path path_;
};

class MissingGolden : public testing::Test {
    void TestBody() override { ATLAS_REQUIRE_DATA(test::dataRoot() / "golden"); }
};

/// Cases that the project's own scripts made (golden_external.py); empty where none were.
fs::path ownCases() {
    const char* given = std::getenv("ATLASSCOPE_OWN_GOLDEN");
    return given ? given : "";
}

void registerCases() {
    const fs::path shared = test::dataRoot() / "golden";
    if (!fs::exists(shared))
        testing::RegisterTest("Golden", "data", nullptr, nullptr, __FILE__, __LINE__,
                              [] { return static_cast<testing::Test*>(new MissingGolden); });
    std::vector<fs::path> paths;
    for (const fs::path& folder : {shared, ownCases()})
        if (fs::exists(folder))
            for (const auto& entry : fs::directory_iterator(folder))
                if (entry.path().extension() == ".json") paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
        std::ifstream file(path);
        const json record = json::parse(file);
        if (!record.contains("io_file") && !record.contains("system")) continue;
        testing::RegisterTest("Golden", path.stem().string().c_str(), nullptr, nullptr, __FILE__,
                              __LINE__,
                              [path]() -> testing::Test* { return new GoldenTest(path); });
    }
}

}  // namespace
}  // namespace atlas::engine

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    atlas::engine::registerCases();
    return RUN_ALL_TESTS();
}
