// SPDX-License-Identifier: Apache-2.0
// Whether a model suits an image: the words of refusals, and warnings measured on real pictures.
#include "engine/pipeline/suitability.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/nn/model_error.h"
#include "engine/pipeline/classify_run.h"
#include "io/image_archive.h"
#include "tests/support/pipeline_runs.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;

using test::kModels;

const fs::path kData = test::dataRoot() / "data";

ModelConfig landuse() {
    return loadModelConfig(kModels / "landuse");
}

/// A model for tissue that records nothing of its training.
ModelConfig tissueModel() {
    ModelConfig model;
    model.name = "tumour";
    model.classNames = {"no", "yes"};
    model.patchSizePx = 224;
    model.spacingUmPx = 0.5;
    model.mean = model.std = {0.5f, 0.5f, 0.5f};
    return model;
}

std::vector<Finding> findingsFor(const std::string& image, const ModelConfig& model,
                                 RunRequest request = {}) {
    request.image = image;
    const auto source = io::openImage(image, request.open);
    const io::ColorSource color(source, io::defaultDisplay(source->info()),
                                std::make_shared<io::TileCache>(size_t{64} << 20));
    return suitability(color, model, request);
}

const Finding* findingOf(const std::vector<Finding>& findings, const std::string& code) {
    for (const auto& finding : findings)
        if (finding.code == code) return &finding;
    return nullptr;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::string refusalOf(const std::string& image, const ModelConfig& model,
                      const RunRequest& request = {}) {
    try {
        requireSuitable(io::openImage(image, {})->info(), model, request);
    } catch (const std::runtime_error& error) {
        return error.what();
    }
    return "";
}

TEST(Suitability, AModelInMetresRefusesASlideInWords) {
    const auto slide = (kData / "slides/CMU-1-Small-Region.svs").string();
    ATLAS_REQUIRE_DATA(slide);
    const std::string text = refusalOf(slide, landuse());
    for (const char* part :
         {"CMU-1-Small-Region.svs: ", "landuse", "the ground seen from above at 0.3 m a pixel",
          "squares of 76.8 m", "a slide with 0.499 \xc2\xb5m a pixel", "openslide.mpp",
          "Choose a model for tissue", "if the image's resolution is wrong", "--resolution"})
        EXPECT_TRUE(contains(text, part)) << part << " is missing in: " << text;
    EXPECT_FALSE(contains(text, "153")) << text;  // no width of 153 million pixels
}

TEST(Suitability, AModelForTissueRefusesALandscapeInWords) {
    const std::string text = refusalOf("synthetic:size=4096,seed=3", tissueModel());
    for (const char* part :
         {"tissue under a microscope at 0.5 \xc2\xb5m a pixel", "squares of 112 \xc2\xb5m",
          "0.5 m a pixel", "synthetic scene", "Choose a model for the ground",
          "One pixel of this image is larger", "too coarse"})
        EXPECT_TRUE(contains(text, part)) << part << " is missing in: " << text;
}

TEST(Suitability, ScalesThatDoNotFitAreRefusedWithTheirReason) {
    RunRequest request;
    request.resolutionUm = 10e6;  // Sentinel's
    const std::string coarse = refusalOf("synthetic:size=4096,seed=3", landuse(), request);
    EXPECT_TRUE(contains(coarse, "too coarse")) << coarse;
    EXPECT_TRUE(contains(coarse, "10 m a pixel (as you gave it")) << coarse;
    EXPECT_TRUE(contains(coarse, "7.7 pixels")) << coarse;
    request.resolutionUm = 1000;
    const std::string fine = refusalOf("synthetic:size=4096,seed=3", landuse(), request);
    EXPECT_TRUE(contains(fine, "too fine")) << fine;
    EXPECT_TRUE(contains(fine, "a small part of one such square")) << fine;
    request = {};
    request.wholeImage = true;
    request.region = io::Rect{0, 0, 20, 300};
    const std::string small = refusalOf("synthetic:size=4096,seed=3", landuse(), request);
    EXPECT_EQ(small, "");  // 33 x 500 pixels of the model
    request.resolutionUm = 0.1e6;
    const std::string less = refusalOf("synthetic:size=4096,seed=3", landuse(), request);
    EXPECT_TRUE(contains(less, "region of 20 x 300 pixels has 7 x 100")) << less;
    EXPECT_TRUE(contains(less, "Choose a larger region")) << less;
    request = {};
    request.region = io::Rect{5000, 0, 10, 10};
    const std::string outside = refusalOf("synthetic:size=4096,seed=3", landuse(), request);
    EXPECT_TRUE(contains(outside, "outside of the image, which is 4096 x 4096 pixels")) << outside;
}

TEST(Suitability, AnImageWithoutResolutionIsToldWhatToGive) {
    const auto mosaic = (kData / "train/ucm_val_mosaic.tif").string();
    ATLAS_REQUIRE_DATA(mosaic);
    const std::string text = refusalOf(mosaic, landuse());
    for (const char* part :
         {"does not say its resolution", "not believed", "landuse", "--resolution 0.3m"})
        EXPECT_TRUE(contains(text, part)) << part << " is missing in: " << text;
}

TEST(Suitability, AnImageSmallerThanASquareIsWarnedOf) {
    const auto findings =
        findingsFor("synthetic:size=64,seed=3", loadModelConfig(kModels / "scenes"));
    const Finding* small = findingOf(findings, "image-small");
    ASSERT_TRUE(small);
    EXPECT_EQ(small->severity, Severity::Warn);
    EXPECT_FALSE(
        findingOf(findingsFor("synthetic:size=1024,seed=3", loadModelConfig(kModels / "scenes")),
                  "image-small"));
}

TEST(Suitability, APixelTwiceAsLargeIsWarnedOf) {
    RunRequest request;
    request.resolutionUm = 1e6;
    const auto findings =
        findingsFor("synthetic:size=4096,seed=3", loadModelConfig(kModels / "scenes"), request);
    const Finding* coarse = findingOf(findings, "resolution-coarse");
    ASSERT_TRUE(coarse);
    EXPECT_TRUE(contains(coarse->text(), "2.0 times"));
    const Finding* contradicts = findingOf(findings, "resolution-contradicts");
    ASSERT_TRUE(contradicts);
    EXPECT_TRUE(contains(contradicts->text(), "You gave 1 m a pixel")) << contradicts->text();
    EXPECT_TRUE(contains(contradicts->text(), "0.5 m (from its synthetic scene)"))
        << contradicts->text();
}

TEST(Suitability, OtherScenesThanThoseOfTheTrainingRaiseNoAlarm) {
    const ModelConfig scenes = loadModelConfig(kModels / "scenes");
    ASSERT_TRUE(pictureReference(scenes));
    for (int seed = 7000001; seed <= 7000008; ++seed) {
        const auto findings =
            findingsFor("synthetic:size=4096,seed=" + std::to_string(seed), scenes);
        EXPECT_TRUE(findings.empty()) << seed << ": " << findings[0].text();
    }
}

/// The held-out images of landuse, each as an image of its own. Measured: the 1680 training tiles
/// lie at 2.26 in the middle, 99 % of them within 5.02, so that the limit is 5.46; the 210 held-out
/// ones at 2.17, the farthest at 5.16. The 2225 tissue tiles of her2st lie at 7.23 in the middle,
/// the nearest at 4.89; 48 of osteosarcoma at 8.16, the nearest at 5.18.
TEST(Suitability, HeldOutTilesOfTheSameKindRaiseNoAlarm) {
    const auto archive = kData / "train/ucmerced_val.zip";
    ATLAS_REQUIRE_DATA(archive);
    const auto reference = pictureReference(landuse());
    ASSERT_TRUE(reference);
    const io::ImageArchive images(archive.string());
    int alarms = 0, stained = 0;
    double farthest = 0;
    for (size_t i = 0; i < images.files().size(); ++i) {
        const io::RasterBlock image = images.decode(i);
        const PictureView view{image.u8.data(), image.width, image.height, image.bands};
        PictureComparison pictures;
        const auto squares = pictureSquares(view, reference->squarePx(), 1);
        reference->compare(squares, pictures);
        farthest = std::max(farthest, reference->distance(squares.at(0)));
        ChannelHistogram channels;
        channels.add(view);
        alarms += !judgePictures(*reference, pictures, channels).empty();
        io::RgbaImage rgba(image.width, image.height);
        for (int y = 0; y < image.height; ++y)
            for (int x = 0; x < image.width; ++x) {
                for (int c = 0; c < 3; ++c)
                    rgba.pixel(x, y)[c] = static_cast<uint8_t>(image.sample(x, y, c));
                rgba.pixel(x, y)[3] = 255;
            }
        stained += lookOf(rgba).looksLikeTissue();
    }
    EXPECT_EQ(alarms, 0) << "the farthest lies at " << farthest << ", the limit is "
                         << reference->limit();
    EXPECT_EQ(stained, 0);
}

/// Measured: 32 of 32 squares lie outside for every one of the six; glass is 37 to 83 % of them,
/// and 44 to 100 % of the rest is pink or purple.
TEST(Suitability, TissueForcedThroughALandUseModelRaisesAlarms) {
    for (const char* name :
         {"slides/her2st/B_B4_BT10737_D2_HE.tif", "slides/her2st/C_C2_5714_HE_BT_C2.tif",
          "slides/her2st/C_C3_5714_HE_BT_D1.tif", "slides/CMU-1-Small-Region.svs",
          "slides/TCGA-CR-7395-jp2k.svs", "slides/cmu-generic-pyramid.tif"}) {
        const auto image = (kData / name).string();
        ATLAS_REQUIRE_DATA(image);
        RunRequest request;
        request.resolutionUm = 0.3e6;
        const auto findings = findingsFor(image, landuse(), request);
        const Finding *subject = findingOf(findings, "subject"),
                      *colours = findingOf(findings, "colours");
        ASSERT_TRUE(subject) << name;
        EXPECT_EQ(subject->severity, Severity::Warn);
        EXPECT_TRUE(contains(subject->text(), "tissue")) << subject->text();
        ASSERT_TRUE(colours) << name;
        EXPECT_TRUE(contains(colours->text(), "magenta") || contains(colours->text(), "smoother"))
            << colours->text();
        // The TCGA file does not say its resolution: there is nothing to contradict.
        EXPECT_EQ(findingOf(findings, "resolution-contradicts") != nullptr, !contains(name, "TCGA"))
            << name;
    }
}

TEST(Suitability, AerialPicturesOfOtherPlacesAreNotTakenForTissue) {
    for (const char* name : {"geo/hro_colorado.tif", "geo/naip_nd_2009.tif", "geo/naip_nd_2020.tif",
                             "geo/pix4d_alpha_nodata.tif", "geo/va_naip-new.tif"}) {
        const auto image = (kData / name).string();
        ATLAS_REQUIRE_DATA(image);
        RunRequest request;
        request.resolutionUm = 0.3e6;
        const auto findings = findingsFor(image, landuse(), request);
        EXPECT_FALSE(findingOf(findings, "subject")) << name;
        EXPECT_FALSE(findingOf(findings, "colours"))
            << name << ": " << findingOf(findings, "colours")->text();
    }
}

TEST(Suitability, AModelThatRecordsNothingSaysThatColoursWereNotCompared) {
    const auto slide = (kData / "slides/CMU-1-Small-Region.svs").string();
    ATLAS_REQUIRE_DATA(slide);
    const auto findings = findingsFor(slide, tissueModel());
    ASSERT_EQ(findings.size(), 1u) << findingCodes(findings);
    EXPECT_EQ(findings[0].code, "colours-unknown");
    EXPECT_EQ(findings[0].severity, Severity::Note);
    EXPECT_TRUE(warningTexts(findings).empty());
    // Its normalisation still tells a mean that is far away.
    ModelConfig dark = tissueModel();
    dark.mean = {0.1f, 0.1f, 0.1f};
    dark.std = {0.1f, 0.1f, 0.1f};
    EXPECT_TRUE(findingOf(findingsFor(slide, dark), "colours"));
}

TEST(Suitability, TheRunSaysItBeforeAndAfterAndInItsRecord) {
    const auto slide = kData / "slides/CMU-1-Small-Region.svs";
    ATLAS_REQUIRE_DATA(slide);
    const test::TemporaryFolder folder;
    RunRequest request;
    request.image = slide.string();
    request.modelDir = kModels / "landuse";
    request.out = folder.path();
    request.device = "cpu";
    request.attention = false;
    request.resolutionUm = 0.3e6;
    request.region = io::Rect{512, 1024, 512, 512};
    request.mask = false;
    std::string before;
    int64_t doneThen = -1;
    const RunOutcome outcome = test::runOf(request, {}, [&](const RunProgress& p) {
        if (!before.empty() || p.findings.empty()) return;
        before = findingCodes(p.findings);
        doneThen = p.done;
    });
    ASSERT_EQ(outcome.state, RunState::Done) << outcome.error;
    EXPECT_EQ(before, "resolution-contradicts subject colours");
    EXPECT_EQ(doneThen, 0);
    EXPECT_EQ(findingCodes(outcome.findings).rfind(before, 0), 0u);
    EXPECT_EQ(outcome.warnings.size(), outcome.findings.size());
    const auto run = nlohmann::json::parse(test::textOf(outcome.folder / "run.json"));
    ASSERT_EQ(run["findings"].size(), outcome.findings.size());
    EXPECT_EQ(run["findings"][1]["code"], "subject");
    EXPECT_EQ(run["findings"][1]["severity"], "warn");
    EXPECT_TRUE(contains(run["findings"][1]["text"].get<std::string>(), "tissue"));
    // Asked again, the finished run says it again.
    const RunOutcome again = test::runOf(request);
    ASSERT_TRUE(again.alreadyThere);
    EXPECT_EQ(findingCodes(again.findings), before);
}

TEST(Suitability, ARefusedImageOfABatchHasItsCode) {
    const test::TemporaryFolder folder;
    RunRequest request = test::sceneRequest(folder.path());
    request.resolutionUm = 1;
    const RunOutcome outcome = test::runOf(request);
    EXPECT_EQ(outcome.state, RunState::Failed);
    EXPECT_EQ(findingCodes(outcome.findings), "resolution-too-fine") << outcome.error;
    EXPECT_TRUE(contains(outcome.error, outcome.findings.at(0).text()));
}

TEST(PictureReference, IsWrittenReadAndRefusesDamage) {
    const auto reference = pictureReference(landuse());
    ASSERT_TRUE(reference);
    const auto again = PictureReference::fromJson(reference->toJson());
    const PictureFeatures pink{0.8, 0.6, 0.8, 0.1, 0.1, 0.1, -2};
    EXPECT_DOUBLE_EQ(again.distance(pink), reference->distance(pink));
    EXPECT_GT(reference->distance(pink), reference->limit());
    EXPECT_TRUE(contains(reference->differences(pink), "more magenta"));
    auto damaged = reference->toJson();
    damaged["covariance"][0][0] = -1.0;
    EXPECT_THROW(PictureReference::fromJson(damaged), std::exception);
    ModelConfig model = landuse();
    model.trainingRecord = nlohmann::json{{"pictures", damaged}}.dump();
    EXPECT_FALSE(pictureReference(model));
    EXPECT_THROW(PictureReference({}, {}, 256, "none"), std::invalid_argument);
}

TEST(PictureReference, IsAddedToAConfigWhoseRestStays) {
    const test::TemporaryFolder folder;
    const auto text = R"({"spec_version": "1.0", "architecture": "resnet34", "num_classes": 1,
        "class_names": ["tumour"], "patch_size_pixels": 350, "spacing_um_px": 0.25,
        "transform": [{"name": "ToTensor"}]})";
    std::ofstream(folder.path() / "config.json") << text;
    std::ofstream(folder.path() / "torchscript_model.pt") << "not read here";
    const ModelConfig before = loadModelConfig(folder.path());
    EXPECT_FALSE(pictureReference(before));
    recordPictures(folder.path(), *pictureReference(landuse()));
    const ModelConfig after = loadModelConfig(folder.path());
    EXPECT_TRUE(pictureReference(after));
    EXPECT_EQ(after.networkText(), before.networkText());  // and so the run's identity
    auto now = nlohmann::json::parse(test::textOf(folder.path() / "config.json"));
    now.erase("training_record");
    EXPECT_EQ(now, nlohmann::json::parse(text));
    EXPECT_THROW(recordPictures(folder.path() / "none", *pictureReference(landuse())), ModelError);
}

TEST(PictureSquares, AreMeasuredByHand) {
    // Left half black, right half white: mean and deviation one half; a step in every row.
    std::vector<uint8_t> pixels(8 * 4 * 4, 255);
    for (size_t y = 0; y < 4; ++y)
        for (size_t x = 0; x < 4; ++x) std::fill_n(pixels.begin() + (y * 8 + x) * 4, 3, uint8_t{0});
    const auto squares = pictureSquares({pixels.data(), 8, 4, 4}, 8, 10);
    ASSERT_EQ(squares.size(), 1u);
    EXPECT_NEAR(squares[0][0], 0.5, 1e-12);
    EXPECT_NEAR(squares[0][3], 0.5, 1e-12);
    EXPECT_NEAR(squares[0][6], std::log10(1.0 / 7 + 1e-4), 1e-12);  // 3 of 7 x 3 places
    // Without data in more than half of it a square says nothing.
    for (size_t i = 0; i < 17; ++i) pixels[4 * i + 3] = 0;
    EXPECT_TRUE(pictureSquares({pixels.data(), 8, 4, 4}, 8, 10).empty());
    EXPECT_EQ(pictureSquares({pixels.data(), 8, 4, 3}, 2, 10).size(), 8u);
    EXPECT_EQ(pictureSquares({pixels.data(), 8, 4, 3}, 2, 3).size(), 3u);
}

}  // namespace
}  // namespace atlas::engine
