// SPDX-License-Identifier: Apache-2.0
// What a network is given: from the user, the model or the image, and never from the display.
#include "engine/pipeline/model_input.h"

#include <gtest/gtest.h>

namespace atlas::engine {
namespace {

io::ImageInfo fourBands(io::SampleType type) {
    io::ImageInfo info;
    info.path = "naip.tif";
    info.type = type;
    for (const auto& [name, role] :
         {std::pair{"B02", io::BandRole::Blue}, std::pair{"B03", io::BandRole::Green},
          std::pair{"B04", io::BandRole::Red}, std::pair{"B08", io::BandRole::NearInfrared}})
        info.bands.push_back({name, role, {}});
    return info;
}

using Bands = std::array<int, 3>;

TEST(ModelInput, FollowsTheUserThenTheModelThenTheImage) {
    const auto info = fourBands(io::SampleType::UInt16);
    ModelConfig model;
    EXPECT_EQ(modelInputSettings(info, model, {}).bands, (Bands{2, 1, 0}));
    EXPECT_EQ(modelInputSettings(info, model, {}).stretch, io::Stretch::Percentile);
    model.colourBands = {"B08", "B04", "2"};
    model.colourScaling = "0,3000";
    const auto ofModel = modelInputSettings(info, model, {});
    EXPECT_EQ(ofModel.bands, (Bands{3, 2, 1}));
    EXPECT_EQ(ofModel.stretch, io::Stretch::Given);
    EXPECT_EQ(ofModel.range[2][1], 3000);
    const auto ofUser = modelInputSettings(info, model, parseInputChoice("1,2,3", "1-99%"));
    EXPECT_EQ(ofUser.bands, (Bands{0, 1, 2}));
    EXPECT_EQ(ofUser.stretch, io::Stretch::Percentile);
    EXPECT_EQ(ofUser.highPercent, 99);
    // Each of the two may be given alone.
    EXPECT_EQ(modelInputSettings(info, model, parseInputChoice("nir,red,green", "")).range[0][1],
              3000);
    EXPECT_EQ(modelInputSettings(info, model, parseInputChoice("", "none")).bands,
              (Bands{3, 2, 1}));
}

TEST(ModelInput, EightBitColourIsTakenAsItIs) {
    const auto settings = modelInputSettings(fourBands(io::SampleType::UInt8), {}, {});
    EXPECT_EQ(settings.stretch, io::Stretch::None);
    EXPECT_EQ(modelInputLine(fourBands(io::SampleType::UInt8), settings),
              "Input: R=3 G=2 B=1, 8-bit values as they are");
}

TEST(ModelInput, SaysInOneLineWhatWasMeasured) {
    auto settings = modelInputSettings(fourBands(io::SampleType::UInt16), {}, {});
    settings.range = {{{88, 3120.5}, {88, 3120.5}, {88, 3120.5}}};
    EXPECT_EQ(modelInputLine(fourBands(io::SampleType::UInt16), settings),
              "Input: R=3 G=2 B=1, 2-98 % of the image (88 to 3120.5)");
}

TEST(ModelInput, NamesTheBandsOfTheImageWhereOneIsMissing) {
    const auto info = fourBands(io::SampleType::UInt8);
    try {
        modelInputSettings(info, {}, parseInputChoice("4,B11,1", ""));
        FAIL() << "there is no B11";
    } catch (const std::runtime_error& error) {
        const std::string text = error.what();
        EXPECT_NE(text.find("naip.tif: there is no band B11"), std::string::npos) << text;
        EXPECT_NE(text.find("3 (B04)"), std::string::npos) << text;
        EXPECT_NE(text.find("--bands"), std::string::npos) << text;
    }
    EXPECT_THROW(modelInputSettings(info, {}, parseInputChoice("40,3,2", "")), std::runtime_error);
}

TEST(ModelInput, RefusesWordsThatMeanNothing) {
    for (const char* bands : {"1,2", "1,2,3,4", "0,1,2", "-1,2,3", ",,"})
        EXPECT_THROW(parseInputChoice(bands, ""), std::invalid_argument) << bands;
    for (const char* stretch : {"much", "5,1", "1,2,3", "99-1%", "-5-50%", "1-101%", "nan,5"})
        EXPECT_THROW(parseInputChoice("", stretch), std::invalid_argument) << stretch;
    EXPECT_TRUE(parseInputChoice("", "").isAutomatic());
}

}  // namespace
}  // namespace atlas::engine
