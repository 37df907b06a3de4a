// SPDX-License-Identifier: Apache-2.0
// The program as a user calls it: exit codes, JSON, and a steps file in the window.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/comma_locale.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas {
namespace {

struct Result {
    int code;
    std::string out;
};

/// Runs `atlasscope ARGUMENTS`, stderr included where `errors`.
Result call(const std::string& arguments, bool errors = false) {
    const std::string command = "timeout 120 " + std::string(ATLASSCOPE_BINARY_DIR) +
                                "/atlasscope " + arguments + (errors ? " 2>&1" : " 2>/dev/null");
    FILE* pipe = popen(command.c_str(), "r");
    std::string out;
    char buffer[4096];
    for (size_t n = 0; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
    const int status = pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
}

TEST(CommandLine, HelpOfEveryCommand) {
    for (const char* name :
         {"", "info", "classify", "train", "eval", "sample", "bench", "bench-tiles", "selftest"}) {
        const Result r = call(std::string(name) + " --help");
        EXPECT_EQ(r.code, 0) << name;
        EXPECT_NE(r.out.find("--help"), std::string::npos) << name;
    }
    EXPECT_NE(call("nonsense", true).out.find("neither a command nor a file"), std::string::npos);
}

/// Runs `atlasscope ARGUMENTS` with these variables; libgomp prints at its start how it waits.
Result callWith(const std::string& variables, const std::string& arguments) {
    const std::string command = "env -u GOMP_SPINCOUNT -u OMP_WAIT_POLICY " + variables +
                                " OMP_DISPLAY_ENV=VERBOSE timeout 120 " +
                                std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope " + arguments +
                                " 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    std::string out;
    char buffer[4096];
    for (size_t n = 0; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) out.append(buffer, n);
    const int status = pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
}

TEST(CommandLine, ThreadsThatWaitSpinForAMomentOnly) {
    const auto spins = [](const std::string& count) { return "GOMP_SPINCOUNT = '" + count + "'"; };
    EXPECT_NE(callWith("", "--version").out.find(spins("2000")), std::string::npos);
    EXPECT_NE(callWith("GOMP_SPINCOUNT=77", "--version").out.find(spins("77")), std::string::npos);
    EXPECT_EQ(callWith("OMP_WAIT_POLICY=active", "--version").out.find(spins("2000")),
              std::string::npos);
    // Benchmarks measure LibTorch as it comes.
    EXPECT_EQ(callWith("", "bench --help").out.find(spins("2000")), std::string::npos);
}

TEST(CommandLine, TheLauncherPassesArgumentsAndExitCodesOn) {
    const test::TemporaryFolder folder;
    const std::string name = "no  such \"file\" $HOME *.tif";
    const Result missing = call("info '" + name + "' ''", true);
    EXPECT_EQ(missing.code, 1);
    EXPECT_NE(missing.out.find(name), std::string::npos) << missing.out;
    EXPECT_EQ(call("--version").code, 0);
    EXPECT_EQ(call("info --no-such-option").code, call("classify --no-such-option").code);
    EXPECT_NE(call("info --no-such-option").code, 0);
    // Through a link, from elsewhere.
    const auto link = folder.path() / "linked";
    std::filesystem::create_symlink(std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope", link);
    EXPECT_EQ(std::system(("cd / && " + link.string() + " --version >/dev/null").c_str()), 0);
    // Alone it says what is missing.
    const auto alone = folder.path() / "alone";
    std::filesystem::copy_file(std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope", alone);
    EXPECT_EQ(WEXITSTATUS(std::system((alone.string() + " --version 2>/dev/null").c_str())), 127);
}

TEST(CommandLine, SelftestPasses) {
    const Result r = call("selftest --json");
    EXPECT_EQ(r.code, 0) << r.out;
    EXPECT_TRUE(nlohmann::json::parse(r.out)["classification"]["ok"]);
}

TEST(CommandLine, SampleThenInfoThenClassify) {
    const test::TemporaryFolder folder;
    const std::string image = (folder.path() / "s.tif").string();
    ASSERT_EQ(call("sample --size 2048 --seed 4 --json --out " + image).code, 0);
    const auto info = nlohmann::json::parse(call("info --json " + image).out);
    EXPECT_EQ(info["levels"][0]["width"], 2048);
    const Result r = call("classify --json --attention --model scenes --out " +
                          (folder.path() / "out").string() + " " + image);
    ASSERT_EQ(r.code, 0) << r.out;
    const auto run = nlohmann::json::parse(r.out)[0];
    EXPECT_EQ(run["state"], "done");
    EXPECT_EQ(run["contexts"], 4);
    EXPECT_TRUE(std::filesystem::exists(run["folder"].get<std::string>() + "/overlay.png"));
}

TEST(CommandLine, OneBadImageShowsInTheExitCodeAndStopsNothing) {
    const test::TemporaryFolder folder;
    std::ofstream(folder.path() / "bad.tif") << "no image";
    const Result r = call("classify --json --model scenes --region 0,0,1024,1024 --out " +
                          (folder.path() / "out").string() + " " +
                          (folder.path() / "bad.tif").string() + " synthetic:size=2048,seed=4");
    EXPECT_EQ(r.code, 1);
    const auto runs = nlohmann::json::parse(r.out);
    EXPECT_EQ(runs[0]["state"], "failed");
    EXPECT_NE(runs[0]["error"].get<std::string>().find("bad.tif"), std::string::npos);
    EXPECT_EQ(runs[1]["state"], "done");
}

/// Two processes, started together: `call` waits for its shell, the shell for both.
TEST(CommandLine, TwoProcessesThatWantTheSameRunEndWithOne) {
    const test::TemporaryFolder folder;
    const std::string out = (folder.path() / "out").string();
    const std::string classify =
        "classify --json --model scenes --overlap 0.5 --out " + out + " synthetic:size=4096,seed=4";
    const std::string other = (folder.path() / "other.json").string();
    const std::string program = std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope ";
    const Result first = call(classify + " & " + program + classify + " >" + other + "; wait $!");
    ASSERT_EQ(first.code, 0) << first.out;
    const auto one = nlohmann::json::parse(first.out)[0];
    const auto two = nlohmann::json::parse(std::ifstream(other))[0];
    EXPECT_EQ(one["state"], "done") << one;
    EXPECT_EQ(two["state"], "done") << two;
    EXPECT_EQ(one["folder"], two["folder"]);
    EXPECT_EQ(one["contexts"], 49);
    EXPECT_EQ(two["contexts"], 49);
    EXPECT_NE(one["already_there"], two["already_there"]);
}

TEST(CommandLine, AWholeImageStaysWithinItsMemory) {
    const test::TemporaryFolder folder;
    const Result r = call(
        "classify --json --attention --context whole --memory 700M --threads 2 --model scenes "
        "--out " +
        folder.path().string() + " synthetic:size=9000,seed=4");
    ASSERT_EQ(r.code, 0) << r.out;
    const auto run = nlohmann::json::parse(r.out)[0];
    EXPECT_EQ(run["state"], "done");
    const std::string dir = run["folder"].get<std::string>();
    EXPECT_TRUE(std::filesystem::exists(dir + "/contributions_s2.tif"));
    std::ifstream file(dir + "/run.json");
    const auto record = nlohmann::json::parse(file);
    EXPECT_EQ(record["parameters"]["context"], "whole");
    EXPECT_EQ(record["parameters"]["memory_bytes"], 700 << 20);
    // What the process took in all, libraries and mapped pages counted.
    EXPECT_LT(record["peak_resident_bytes"].get<double>(), 700.0 * 1048576);
}

TEST(CommandLine, BenchmarksCompareOursWithPlainLibTorch) {
    const test::TemporaryFolder folder;
    const Result r = call("bench msa_q256_k512_d32 --json --seconds 0.1");
    ASSERT_EQ(r.code, 0) << r.out;
    const auto json = nlohmann::json::parse(r.out);
    EXPECT_FALSE(json["machine"]["processor"].get<std::string>().empty());
    const auto& result = json["results"].at(0);
    for (const char* key : {"name", "ours_s", "plain_s", "ratio", "gflops", "peak_share",
                            "matmul_share", "peak_bytes", "plain_peak_bytes"})
        EXPECT_TRUE(result.contains(key)) << key;
    EXPECT_GT(result["ours_s"], 0);
    EXPECT_GT(result["plain_peak_bytes"], 0);
    const auto path = folder.path() / "before.json";
    std::ofstream(path) << r.out;
    const Result again =
        call("bench msa_q256_k512_d32 --seconds 0.1 --compare " + path.string(), true);
    EXPECT_NE(again.out.find("ratio"), std::string::npos);
    EXPECT_NE(again.out.find("plain"), std::string::npos);
    EXPECT_NE(again.out.find("share of the processor's multiply-add peak"), std::string::npos);
    EXPECT_NE(again.out.find("share of LibTorch's matrix product"), std::string::npos);
    EXPECT_GT(json["machine"]["multiply_add"]["float32"]["gflops"], 0);
    // What a GPU would be timed with, by the processor.
    const Result onDevice =
        call("bench msa_q256_k256_d128 --device cpu:libtorch --json --seconds 0.01");
    ASSERT_EQ(onDevice.code, 0) << onDevice.out;
    const auto timed = nlohmann::json::parse(onDevice.out);
    EXPECT_NE(timed["machine"]["device"].get<std::string>().find("LibTorch"), std::string::npos);
    EXPECT_GT(timed["results"].at(0)["gflops"], 0);
    EXPECT_NE(call("bench no_such_case", true).code, 0);
    EXPECT_NE(call("bench --compare /nonexistent msa", true).code, 0);
}

TEST(CommandLine, RefusesWhatItCannotDoWithAReason) {
    const test::TemporaryFolder folder;
    const std::string tail =
        " --model scenes --out " + folder.path().string() + " synthetic:size=2048,seed=4";
    EXPECT_NE(call("classify --device cuda:88" + tail, true).out.find("cuda:88"),
              std::string::npos);
    EXPECT_NE(call("classify --resolution 5" + tail, true).out.find("not understood"),
              std::string::npos);
    EXPECT_NE(call("classify --region 1,2,3" + tail, true).out.find("X,Y,WIDTH,HEIGHT"),
              std::string::npos);
    EXPECT_NE(call("classify --memory 5" + tail, true).out.find("such as 4G"), std::string::npos);
    EXPECT_NE(call("classify --context half" + tail, true).code, 0);
    EXPECT_NE(call("classify --model nothing --out x synthetic:size=2048,seed=4", true)
                  .out.find("no model \"nothing\""),
              std::string::npos);
}

TEST(CommandLine, AFullDiskIsSaidAndLeavesPublishedResultsWhole) {
    const test::TemporaryFolder folder;
    const std::string tail = " --json --attention --model scenes --out " + folder.path().string() +
                             " synthetic:size=2048,seed=4";
    const auto before =
        nlohmann::json::parse(call("classify --region 0,0,1024,1024" + tail).out)[0];
    ASSERT_EQ(before["state"], "done");
    // A limit on the size of files stands for the full disk.
    const std::string command = "bash -c \"trap '' XFSZ; ulimit -f 40; exec " +
                                std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope classify" + tail +
                                "\" 2>/dev/null";
    FILE* pipe = popen(command.c_str(), "r");
    std::string out(1 << 16, '\0');
    out.resize(fread(out.data(), 1, out.size(), pipe));
    EXPECT_NE(pclose(pipe), 0);
    const auto run = nlohmann::json::parse(out)[0];
    EXPECT_EQ(run["state"], "failed");
    EXPECT_NE(run["error"].get<std::string>().find("cannot be written"), std::string::npos)
        << run["error"];
    EXPECT_TRUE(std::filesystem::exists(before["folder"].get<std::string>() + "/run.json"));
    // With room again, the run goes on where it stood.
    EXPECT_EQ(nlohmann::json::parse(call("classify" + tail).out)[0]["state"], "done");
}

TEST(CommandLine, AKilledRunGoesOn) {
    const test::TemporaryFolder folder;
    const std::string program = std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope";
    const std::string arguments = " classify --json --model scenes --out " +
                                  folder.path().string() + " synthetic:size=4096,seed=8";
    // Killed as soon as the journal holds something.
    const std::string script =
        "bash -c '" + program + arguments +
        " >/dev/null 2>&1 & p=$!; for i in $(seq 400); do sleep 0.05; [ -s " +
        folder.path().string() +
        "/*/*.partial/journal-* ] && break; done; kill -9 $p; wait $p' 2>/dev/null";
    EXPECT_NE(std::system(script.c_str()), 0);
    int partial = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path()))
        partial += entry.path().filename().string().starts_with("journal-");
    EXPECT_EQ(partial, 1);
    const auto run = nlohmann::json::parse(call(arguments).out)[0];
    EXPECT_EQ(run["state"], "done");
    EXPECT_EQ(run["contexts"], 16);
}

TEST(CommandLine, TheMosaicAgreesWithItsPolygons) {
    const auto mosaic = test::dataRoot() / "data/train/ucm_val_mosaic.tif";
    ATLAS_REQUIRE_DATA(mosaic);
    const test::TemporaryFolder folder;
    const std::string tail =
        " --json --model landuse --out " + folder.path().string() + " " + mosaic.string();
    EXPECT_NE(call("classify" + tail).out.find("does not say its resolution"), std::string::npos);
    const Result r = call("classify --resolution 0.3m" + tail);
    ASSERT_EQ(r.code, 0) << r.out;
    const auto read = [](const std::filesystem::path& path) {
        std::ifstream file(path);
        return nlohmann::json::parse(file);
    };
    const auto tiles = read(nlohmann::json::parse(r.out)[0]["folder"].get<std::string>() +
                            "/tiles_qupath.geojson");
    const auto blocks = read(test::dataRoot() / "data/train/ucm_val_mosaic.geojson");
    std::map<std::pair<int, int>, std::string> truth;
    for (const auto& block : blocks["features"]) {
        const auto& corner = block["geometry"]["coordinates"][0][0];
        for (int i = 0; i < 10; ++i)
            truth[{corner[0].get<int>() + i % 5 * 256, corner[1].get<int>() + i / 5 * 256}] =
                block["properties"]["classification"]["name"];
    }
    ASSERT_EQ(tiles["features"].size(), truth.size());
    int right = 0;
    for (const auto& tile : tiles["features"]) {
        const auto& corner = tile["geometry"]["coordinates"][0][0];
        right += truth.at({corner[0], corner[1]}) == tile["properties"]["classification"]["name"];
    }
    // 91.9 % of the same tiles before they were compressed again into the mosaic.
    EXPECT_GE(right, 210 * 87 / 100);
}

TEST(CommandLine, BandsAndStretchAreChoices) {
    const auto raster = test::dataRoot() / "data/geo/LE7_stack_8band_int16.tif";
    ATLAS_REQUIRE_DATA(raster);
    const test::TemporaryFolder folder;
    const std::string tail = " --json --model landuse --resolution 0.3m --out " +
                             folder.path().string() + " " + raster.string();
    const auto first = nlohmann::json::parse(call("classify --bands 4,3,2" + tail).out)[0];
    const auto second =
        nlohmann::json::parse(call("classify --bands 3,2,1 --stretch 0,4000" + tail).out)[0];
    EXPECT_EQ(first["state"], "done");
    EXPECT_EQ(second["state"], "done");
    EXPECT_NE(first["folder"], second["folder"]);
    EXPECT_EQ(nlohmann::json::parse(call("classify --bands 40,3,2" + tail).out)[0]["state"],
              "failed");
    EXPECT_NE(call("classify --stretch much" + tail, true).out.find("--stretch is"),
              std::string::npos);
}

TEST(CommandLine, ComparesModelsOnTheSameImages) {
    const std::string data = " --data synthetic:900-999,samples=10,natural";
    const auto table =
        nlohmann::json::parse(call("compare --json --models scenes landuse scenes" + data).out);
    const auto& models = table["models"];
    ASSERT_EQ(models.size(), 3u);
    const auto alone = nlohmann::json::parse(call("eval --json --model scenes" + data).out);
    EXPECT_EQ(models[0]["samples"], 10);
    EXPECT_EQ(models[0]["accuracy"], models[2]["accuracy"]);
    // eval keeps contexts without a clear class apart; here all ten count.
    const double clear = alone["samples"].get<double>() * alone["accuracy"].get<double>();
    EXPECT_GE(models[0]["accuracy"].get<double>() * 10, clear - 1e-6);
    EXPECT_FALSE(models[1].contains("accuracy"));  // its classes are others
    EXPECT_EQ(table["agreement"][0][2], 1.0);
    EXPECT_EQ(table["agreement"][0][0], 1.0);
    EXPECT_LT(table["agreement"][0][1], 1.0);
    EXPECT_GT(models[0]["seconds_per_megapixel"], 0);
    EXPECT_NE(call("compare --models scenes" + data, true).out.find("--models"), std::string::npos);
}

TEST(CommandLine, EvalPrintsAccuracyAndConfusion) {
    const Result r = call("eval --json --model scenes --data synthetic:900-999,samples=10,natural");
    ASSERT_EQ(r.code, 0) << r.out;
    const auto json = nlohmann::json::parse(r.out);
    EXPECT_EQ(json["confusion"].size(), 10u);
    EXPECT_TRUE(json.contains("arrangement_only"));
}

TEST(CommandLine, TheViewersBenchmarkTellsItsProgressAndEnds) {
    if (!std::getenv("DISPLAY")) GTEST_SKIP() << "SKIPPED: no display; run under xvfb-run";
    const auto start = std::chrono::steady_clock::now();
    // More frames than any machine draws in the time.
    const Result r = call(
        "bench-viewer --json --frames 100000 --delay 10 --limit 3,5 synthetic:size=4096,seed=1",
        true);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
    ASSERT_EQ(r.code, 0) << r.out;
    EXPECT_EQ(r.out.rfind("synthetic:size=4096,seed=1: measured for 4 s at most", 0), 0u) << r.out;
    EXPECT_NE(r.out.find("of 100000 frames"), std::string::npos) << r.out;
    nlohmann::json result;
    std::istringstream(r.out.substr(r.out.find("\n{") + 1)) >> result;
    EXPECT_EQ(result["limit_s"], 3.5);
    std::string missed;
    for (const auto& what : result["not_reached"]) missed += what.get<std::string>() + "\n";
    EXPECT_NE(missed.find("flight with late tiles, "), std::string::npos) << missed;
    EXPECT_GT(result["cached"]["median"], 0);
    const Result refused = call("bench-viewer --limit soon", true);
    EXPECT_NE(refused.out.find("\"soon\" is not a number"), std::string::npos) << refused.out;
}

TEST(CommandLine, RunsInTheLocaleOfTheUser) {
    const auto numbers = nlohmann::json::parse(call("selftest --json").out)["numbers"];
    EXPECT_TRUE(numbers["ok"]);
    const char* asked = std::getenv("LC_ALL");
    const bool comma = asked && std::string(asked).starts_with("de_DE");
    // Where the locale is asked for and missing, nothing was proved by the tests of this run.
    EXPECT_EQ(
        numbers["detail"].get<std::string>().find("decimals follow \",\"") != std::string::npos,
        comma)
        << numbers << "; installer/setup.sh deps makes de_DE.UTF-8";
}

TEST(CommandLine, OptionsTakePointAndCommaInEveryLocale) {
    const test::TemporaryFolder folder;
    const char* given = std::getenv("LC_ALL");
    const std::string before = given ? given : "";
    setenv("LC_ALL", test::kCommaLocale, 1);
    const auto run = [&](const std::string& numbers) {
        const Result r = call("classify --json --model scenes --out " + folder.path().string() +
                              " " + numbers + " synthetic:size=4096,seed=4");
        const auto answer = nlohmann::json::parse(r.out, nullptr, false);
        std::ifstream file(answer.is_array() ? answer[0]["folder"].get<std::string>() + "/run.json"
                                             : std::string());
        const auto record = nlohmann::json::parse(file, nullptr, false);
        return record.is_object() ? record["parameters"] : nlohmann::json(r.out);
    };
    const auto point = run("--overlap 0.25 --resolution 0.4m --memory 1.5G"),
               comma = run("--overlap 0,25 --resolution 0,4m --memory 1,5G");
    given ? setenv("LC_ALL", before.c_str(), 1) : unsetenv("LC_ALL");
    EXPECT_EQ(point["overlap"], 0.25) << point;
    EXPECT_EQ(point["resolution_given_um"], 400000);
    EXPECT_EQ(point["memory_bytes"], int64_t{3} << 29);
    EXPECT_EQ(comma, point);
    EXPECT_NE(
        call("classify --overlap much --model scenes --out x synthetic:size=2048,seed=4", true)
            .out.find("\"much\" is not a number"),
        std::string::npos);
}

TEST(CommandLine, WithoutADisplayTheWindowSaysSo) {
    const std::string command = "env -u DISPLAY -u WAYLAND_DISPLAY " +
                                std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope 2>&1";
    FILE* pipe = popen(command.c_str(), "r");
    char buffer[1000] = {};
    const size_t n = fread(buffer, 1, sizeof buffer - 1, pipe);
    EXPECT_NE(pclose(pipe), 0);
    EXPECT_NE(std::string(buffer, n).find("no display"), std::string::npos);
}

TEST(Steps, PlayTheWindowAndFailWhereAnExpectationDoes) {
    if (!std::getenv("DISPLAY")) GTEST_SKIP() << "SKIPPED: no display; run under xvfb-run";
    const test::TemporaryFolder folder;
    const auto play = [&](const nlohmann::json& steps) {
        std::ofstream(folder.path() / "steps.json") << steps.dump();
        setenv("XDG_DATA_HOME", (folder.path() / "data").c_str(),
               1);  // results of images without a folder
        setenv("XDG_CONFIG_HOME", (folder.path() / "config").c_str(), 1);
        return call("--play " + (folder.path() / "steps.json").string(), true);
    };
    const Result good =
        play({{{"resize", {{"width", 1100}, {"height", 700}}}},
              {{"open", "synthetic:size=2048,seed=4"}},
              {{"run", {{"model", "scenes"}}}},
              {{"expect", {{"value", "state"}, {"equals", "done"}}}},
              {{"layer", {{"id", "attention1"}, {"visible", true}, {"opacity", 0.8}}}},
              {{"scale", 2}},
              {{"expect", {{"value", "layers/attention2/visible"}, {"equals", true}}}},
              {{"goTo", {{"x", 512}, {"y", 512}, {"scale", 0.5}}}},
              {{"expect", {{"value", "scale"}, {"equals", 0.5}, {"tolerance", 1e-6}}}},
              {{"probe", {{"x", 512}, {"y", 512}}}},
              {{"expect", {{"value", "probe/mass2"}, {"min", 0.99}}}},
              {{"hover", {{"x", 500}, {"y", 500}}}},
              {{"expect", {{"value", "pointer/probability"}, {"min", 0.1}, {"max", 1}}}},
              {{"click", {{"x", 500}, {"y", 500}}}},
              {{"key", "V"}},
              {{"action", "view.fit"}},
              {{"theme", "light"}},
              {{"screenshot", "shot.png"}},
              {{"quit", true}}});
    EXPECT_EQ(good.code, 0) << good.out;
    EXPECT_GT(std::filesystem::file_size(folder.path() / "shot.png"), 20000u);
    const Result bad = play({{{"open", "synthetic:size=2048,seed=4"}},
                             {{"expect", {{"value", "width"}, {"equals", 7}}}},
                             {{"unknown", 1}}});
    EXPECT_EQ(bad.code, 1);
    EXPECT_NE(bad.out.find("step 2 (expect): width is 2048"), std::string::npos) << bad.out;
    EXPECT_NE(bad.out.find("step 3 (unknown)"), std::string::npos);
}

/// The window is killed while it draws one annotation after the other: what lies on disk is always
/// a whole file, and holds the first ones drawn, none missing in between.
TEST(CommandLine, AnnotationsSurviveAKillAtAnyMoment) {
    size_t most = 0;
    for (int round = 0; round < 8; ++round) {
        const test::TemporaryFolder folder;
        nlohmann::json drawn = nlohmann::json::array();
        for (int i = 0; i < 1200; ++i)
            drawn.push_back({{"shape", "polygon"},
                             {"points", {{i, 0}, {i + 50, 10}, {i + 20, 90}}},
                             {"name", std::to_string(i)},
                             {"class", "kept"}});
        std::ofstream(folder.path() / "steps.json") << nlohmann::json::array(
            {{{"open", "synthetic:size=2048,seed=4"}}, {{"annotate", drawn}}, {{"quit", true}}});
        const auto file =
            folder.path() /
            "data/AtlasScope/AtlasScope/results/synthetic_size=2048,seed=4.annotations.geojson";
        const std::string script = "XDG_DATA_HOME=" + (folder.path() / "data").string() +
                                   " XDG_CONFIG_HOME=" + (folder.path() / "config").string() + " " +
                                   std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope --play " +
                                   (folder.path() / "steps.json").string() +
                                   " >/dev/null 2>&1 & p=$!; "
                                   "for i in $(seq 400); do [ -s '" +
                                   file.string() +
                                   "' ] && break; sleep 0.05; done; "
                                   "sleep 0." +
                                   std::to_string(100 + 37 * round) + "; kill -9 $p; wait $p";
        std::ofstream(folder.path() / "kill.sh") << script;
        [[maybe_unused]] const int status =
            std::system(("bash " + (folder.path() / "kill.sh").string() + " 2>/dev/null").c_str());
        std::ifstream text(file);
        ASSERT_TRUE(text) << "nothing was written";
        const auto kept = nlohmann::json::parse(text, nullptr, false);
        ASSERT_TRUE(kept.is_object()) << "round " << round << ": half a file";
        const auto& features = kept["features"];
        for (size_t i = 0; i < features.size(); ++i)
            ASSERT_EQ(features[i]["properties"]["name"], std::to_string(i));
        most = std::max(most, features.size());
    }
    EXPECT_GT(most, 5u);
}

TEST(CommandLine, WhatSpeaksAgainstARunIsSaidBeforeItBegins) {
    const auto slide = test::dataRoot() / "data/slides/CMU-1-Small-Region.svs";
    ATLAS_REQUIRE_DATA(slide);
    const test::TemporaryFolder folder;
    const std::string tail = " --model landuse --device cpu --out " +
                             (folder.path() / "out").string() + " " + slide.string();
    const Result refused = call("classify" + tail, true);
    EXPECT_NE(refused.code, 0);
    for (const char* part : {"is made for the ground seen from above at 0.3 m a pixel",
                             "a slide with 0.499", "Choose a model for tissue"})
        EXPECT_NE(refused.out.find(part), std::string::npos) << refused.out;
    const Result forced = call("classify --no-mask --region 512,1024,512,512 --resolution 0.3m" +
                                   tail + " " + slide.string(),
                               true);
    ASSERT_EQ(forced.code, 0) << forced.out;
    const auto warning = forced.out.find("warning: The model landuse is made for the ground");
    const auto done = forced.out.find("done");
    ASSERT_NE(warning, std::string::npos) << forced.out;
    ASSERT_NE(done, std::string::npos) << forced.out;
    EXPECT_LT(warning, done);
    // The table of several images names what speaks against each.
    const auto table = forced.out.find("state       contexts  warnings");
    ASSERT_NE(table, std::string::npos) << forced.out;
    EXPECT_NE(forced.out.find("resolution-contradicts subject colours", table), std::string::npos)
        << forced.out;
}

TEST(CommandLine, EvalRecordsThePicturesOfATraining) {
    const test::TemporaryFolder folder;
    const auto model = folder.path() / "mine";
    std::filesystem::copy(std::filesystem::path(ATLASSCOPE_SOURCE_DIR) / "resources/models/scenes",
                          model);
    const auto read = [&] {
        std::ifstream file(model / "config.json");
        return nlohmann::json::parse(file);
    };
    auto config = read();
    config["atlas"]["training_record"].erase("pictures");
    std::ofstream(model / "config.json") << config.dump(2);
    const std::string tail = " --model " + model.string() + " --data synthetic:1-1000,samples=";
    const Result few = call("eval --record-pictures" + tail + "1", true);
    EXPECT_NE(few.code, 0);
    EXPECT_NE(few.out.find("too few pictures"), std::string::npos) << few.out;
    ASSERT_EQ(call("eval --record-pictures" + tail + "4").code, 0);
    auto now = read();
    EXPECT_EQ(now["atlas"]["training_record"]["pictures"]["squares"], 64);
    now["atlas"]["training_record"].erase("pictures");
    EXPECT_EQ(now, config);
}

}  // namespace
}  // namespace atlas
