// SPDX-License-Identifier: Apache-2.0
// The program: parses the command line and calls one subcommand; without one it opens the window.
#include <CLI/CLI.hpp>
#include <clocale>
#include <iostream>

#include "app/command_line.h"
#include "app/launcher.h"
#include "app/memory.h"
#include "io/numbers.h"

namespace {

using namespace atlas::app;

template <typename Arguments>
void onCall(CLI::App* command, Arguments& arguments, int (*run)(const Arguments&), int& code) {
    command->callback([&arguments, run, &code] { code = run(arguments); });
}

struct AllArguments {
    InfoArguments info;
    ClassifyArguments classify;
    BenchArguments bench;
    BenchTilesArguments benchTiles;
    BenchViewerArguments benchViewer;
    BenchProbeArguments benchProbe;
    CompareArguments compare;
    TrainArguments train;
    EvalArguments eval;
    SampleArguments sample;
    SelftestArguments selftest;
    WindowArguments window;
};

void addEngineOptions(CLI::App& command, EngineArguments& engine) {
    command.add_option("--device", engine.device,
                       "auto, cpu, cuda, cuda:N; cpu:libtorch does what a GPU does (slow)");
    command
        .add_option("--precision", engine.precision,
                    "fp32, bf16, or auto (the faster of both here)")
        ->check(CLI::IsMember({"fp32", "bf16", "auto"}));
    command.add_option("--threads", engine.threads, "Threads of the network; 0: all cores")
        ->check(CLI::Range(0, 1024));
}

/// A number with a decimal point or a decimal comma, in every locale.
CLI::Option* addNumberOption(CLI::App& command, const std::string& name, double& value,
                             const std::string& what) {
    const auto set = [name, &value](const std::string& text) {
        const auto number = atlas::io::parseTypedNumber(text);
        if (!number) throw CLI::ValidationError(name, "\"" + text + "\" is not a number");
        value = *number;
    };
    return command.add_option_function<std::string>(name, set, what)->type_name("NUMBER");
}

void addMemoryOption(CLI::App& command, EngineArguments& engine,
                     const std::string& what =
                         "What a whole-image run may take, e.g. 4G; more goes to a scratch file") {
    command.add_option("--memory", engine.memory, what);
}

void addCommands(CLI::App& app, AllArguments& a, int& code) {
    auto* info = app.add_subcommand("info", "What an image is: size, levels, bands, resolution");
    info->add_option("images", a.info.images, "Image files")->required();
    info->add_flag("--read-all", a.info.readAll, "Read every pixel of level 0 and report damage");
    info->add_option("--alpha", a.info.alpha,
                     "Is a band tagged as alpha transparency? auto, yes, no");
    info->add_flag("--json", a.info.json, "Print JSON");
    onCall(info, a.info, runInfo, code);

    auto* classify = app.add_subcommand("classify", "Classify images or whole folders");
    classify
        ->add_option("images", a.classify.images,
                     "Image files, folders, or synthetic:size=N,seed=S")
        ->required();
    classify
        ->add_option("--model", a.classify.model, "Model folder, or the name of an installed model")
        ->required();
    classify->add_option("--out", a.classify.out, "Folder for the results")->required();
    classify->add_option("--resolution", a.classify.resolution,
                         "Size of a pixel where the image does not say it: 0.5um, 0.3m");
    addNumberOption(*classify, "--overlap", a.classify.overlap,
                    "Share of a context's side that neighbours share, 0 to 0.9");
    classify->add_option("--region", a.classify.region, "X,Y,WIDTH,HEIGHT in pixels");
    addEngineOptions(*classify, a.classify.engine);
    addMemoryOption(*classify, a.classify.engine);
    classify
        ->add_option("--context", a.classify.context,
                     "model: squares of the model's size; whole: the image as one context")
        ->check(CLI::IsMember({"model", "whole"}));
    classify->add_flag("--attention", a.classify.attention,
                       "Attention maps, one a scale, and the mass of each scale");
    classify->add_flag("--no-mask", a.classify.noMask, "Classify background and empty parts too");
    classify
        ->add_option("--tissue-rule", a.classify.tissueRule,
                     "Of slides: overlap takes contexts that hold some tissue, wsinfer those whose "
                     "centre lies in WSInfer's tissue polygon")
        ->check(CLI::IsMember({"overlap", "wsinfer"}));
    classify->add_option("--alpha", a.classify.alpha,
                         "Is a band tagged as alpha transparency? auto, yes, no");
    classify->add_option("--bands", a.classify.bands,
                         "Bands that the network is given as red, green, blue: numbers or names, "
                         "e.g. 4,3,2");
    classify->add_option("--stretch", a.classify.stretch,
                         "How values become 8 bits for the network: none, percentile (2 to 98 % of "
                         "the image), LOW-HIGH%, minmax, or LOW,HIGH");
    classify->add_flag("--json", a.classify.json, "Print JSON");
    classify->add_flag("--trust-model", a.classify.trustModel,
                       "Run this TorchScript model, which is code; remembered by its hash");
    onCall(classify, a.classify, runClassify, code);

    auto* bench = app.add_subcommand("bench", "Time each operation against plain LibTorch");
    bench->add_option("filter", a.bench.filter, "Part of a benchmark's name");
    addNumberOption(*bench, "--seconds", a.bench.seconds,
                    "Of measuring each side of a case, about");
    bench->add_option("--device", a.bench.device, "cpu, or what a GPU does: cuda, cuda:N")
        ->capture_default_str();
    bench->add_option("--threads", a.bench.threads, "Threads; 0: all cores")
        ->check(CLI::Range(0, 1024));
    bench->add_option("--compare", a.bench.compare, "Earlier JSON: print what changed");
    bench->add_option("--python", a.bench.python,
                      "A Python with torch: torch.compile of whole networks as a third column");
    bench->add_flag("--all", a.bench.all, "The largest cases too: minutes each");
    bench->add_flag("--json", a.bench.json, "Print JSON");
    onCall(bench, a.bench, runBench, code);

    auto* tiles = app.add_subcommand("bench-tiles", "Tiles a second of a slide against OpenSlide");
    tiles->add_option("image", a.benchTiles.image, "Tiled TIFF, e.g. SVS")->required();
    addNumberOption(*tiles, "--seconds", a.benchTiles.seconds, "Of measuring, about");
    tiles->add_flag("--json", a.benchTiles.json, "Print JSON");
    onCall(tiles, a.benchTiles, runBenchTiles, code);

    auto* viewer = app.add_subcommand("bench-viewer", "Frame times of the viewer over a flight");
    viewer->add_option("image", a.benchViewer.image, "Image; default: a synthetic scene");
    viewer->add_option("--frames", a.benchViewer.frames, "Frames of the flight")
        ->check(CLI::Range(10, 100000));
    viewer->add_option("--delay", a.benchViewer.delay, "Milliseconds a tile of the slowed flight")
        ->check(CLI::Range(0, 10000));
    addNumberOption(*viewer, "--limit", a.benchViewer.limit,
                    "Seconds of measuring at most (300); what was not reached is named");
    viewer->add_flag("--json", a.benchViewer.json, "Print JSON");
    onCall(viewer, a.benchViewer, runBenchViewer, code);

    auto* probe =
        app.add_subcommand("bench-probe", "Time of the explorer's questions about a context");
    probe->add_option("--model", a.benchProbe.model,
                      "Model folder, or the name of an installed one");
    probe->add_option("image", a.benchProbe.image, "Image; default: a synthetic scene");
    probe->add_option("--repeats", a.benchProbe.repeats, "Of which the median is taken")
        ->check(CLI::Range(1, 10000));
    probe->add_flag("--json", a.benchProbe.json, "Print JSON");
    onCall(probe, a.benchProbe, runBenchProbe, code);

    auto* train = app.add_subcommand("train", "Train an Atlas network");
    train
        ->add_option("--data", a.train.data,
                     "Folder or zip with CLASS/NAME.jpg, or synthetic:FIRST-LAST,samples=N")
        ->required();
    train->add_option("--config", a.train.config, "Training plan (JSON)")->required();
    train->add_option("--out", a.train.out, "Model folder to write; an unfinished one goes on")
        ->required();
    train->add_option("--val", a.train.validation, "Validation data, measured after every epoch");
    train->add_option("--start", a.train.start, "Model whose weights to begin with");
    a.train.engine.precision.clear();
    addEngineOptions(*train, a.train.engine);
    addMemoryOption(*train, a.train.engine,
                    "What the program may take, e.g. 4G; a plan that needs more is refused");
    train->add_flag("--json", a.train.json, "One JSON object an epoch");
    onCall(train, a.train, runTrain, code);

    auto* eval = app.add_subcommand("eval", "Accuracy of a model on labelled images");
    eval->add_option("--data", a.eval.data, "As for train")->required();
    eval->add_option("--model", a.eval.model, "Model folder, or the name of an installed model")
        ->required();
    eval->add_option("--size", a.eval.size, "Side of the contexts in pixels; default: the model's");
    addEngineOptions(*eval, a.eval.engine);
    addMemoryOption(*eval, a.eval.engine,
                    "What the program may take, e.g. 4G: so many contexts at once");
    eval->add_option("--record", a.eval.record,
                     "Write the result under this name into the model's training record");
    eval->add_flag(
        "--record-pictures", a.eval.recordPictures,
        "Measure the colours and the texture of the data, which are what the model was "
        "trained on, and write them into its config.json: runs then warn where a picture "
        "is unlike them");
    eval->add_flag("--trust-model", a.eval.trustModel, "As for classify");
    eval->add_flag("--json", a.eval.json, "Print JSON");
    onCall(eval, a.eval, runEval, code);

    auto* compare = app.add_subcommand("compare", "Several models over the same labelled images");
    compare->add_option("--models", a.compare.models, "Two or more: folders or installed names")
        ->required()
        ->expected(2, 16);
    compare->add_option("--data", a.compare.data, "As for train")->required();
    compare->add_flag("--trust-model", a.compare.trustModel, "As for classify");
    addEngineOptions(*compare, a.compare.engine);
    compare->add_flag("--json", a.compare.json, "Print JSON");
    onCall(compare, a.compare, runCompare, code);

    auto* sample = app.add_subcommand("sample", "Write a synthetic landscape with its truth");
    sample->add_option("--size", a.sample.size, "Side in pixels");
    sample->add_option("--seed", a.sample.seed, "Another seed, another landscape");
    sample->add_option("--out", a.sample.out, "TIFF file to write")->required();
    sample->add_flag("--json", a.sample.json, "Print JSON");
    onCall(sample, a.sample, runSample, code);

    auto* selftest = app.add_subcommand("selftest", "Check that this installation works");
    selftest->add_flag("--json", a.selftest.json, "Print JSON");
    onCall(selftest, a.selftest, runSelftest, code);
}

}  // namespace

int main(int argc, char** argv) {
    forgetLauncher();
    // As QApplication does: commands and window run under the same locale, the user's. No number in
    // a file or an option depends on it.
    std::setlocale(LC_ALL, "");
    // A benchmark measures memory: nothing may be kept back from the system there.
    if (argc < 2 || std::string(argv[1]) != "bench") keepLargeBlocks();
    CLI::App app{
        "AtlasScope: gigapixel slides and satellite images, classified and explained by scale.\n"
        "Without a subcommand the window opens. For research use only, not for diagnosis."};
    AllArguments arguments;
    int code = 0;
    app.require_subcommand(0, 1);
    app.set_version_flag("--version", ATLASSCOPE_VERSION);
    app.add_option("image", arguments.window.image, "Image to open in the window");
    app.add_option("--model", arguments.window.model, "Model to choose in the window");
    app.add_flag("--classify", arguments.window.classify, "Start classifying the image");
    app.add_option("--play", arguments.window.steps, "Play a steps file in the window (JSON)");
    addEngineOptions(app, arguments.window.engine);
    addMemoryOption(app, arguments.window.engine);
    addCommands(app, arguments, code);
    try {
        app.parse(argc, argv);
        if (app.get_subcommands().empty()) code = runWindow(arguments.window, argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error);
    } catch (const std::exception& error) {
        std::cerr << "atlasscope: " << error.what() << std::endl;
        return 1;
    }
    return code;
}
