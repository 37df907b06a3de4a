// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/model_input.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <stdexcept>

namespace atlas::engine {
namespace {

std::string trimmed(const std::string& text) {
    const auto first = text.find_first_not_of(" \t");
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    for (size_t at = 0;;) {
        const size_t end = text.find(separator, at);
        parts.push_back(trimmed(text.substr(at, end - at)));
        if (end == std::string::npos) return parts;
        at = end + 1;
    }
}

/// The whole text as a number, whatever the locale; nothing where it is none.
std::optional<double> numberIn(const std::string& text) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
        return {};
    return value;
}

std::string lower(std::string text) {
    for (char& c : text)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return text;
}

void setBands(const io::ImageInfo& info, const std::vector<std::string>& names,
              io::DisplaySettings& settings) {
    if (names.empty()) return;
    if (names.size() != 3)
        throw std::runtime_error(info.path + ": a network takes three bands, but " +
                                 std::to_string(names.size()) + " were named");
    for (size_t i = 0; i < 3; ++i) settings.bands[i] = bandNamed(info, names[i]);
}

void setScaling(const InputChoice& choice, io::DisplaySettings& settings) {
    if (!choice.stretch) return;
    settings.stretch = *choice.stretch;
    settings.lowPercent = choice.lowPercent;
    settings.highPercent = choice.highPercent;
    if (settings.stretch == io::Stretch::Given) settings.range = choice.range;
}

/// A number with as many digits as it needs, whatever the locale.
std::string shortNumber(double value) {
    char text[32];
    const auto [end, error] =
        std::to_chars(text, text + sizeof text, value, std::chars_format::general, 6);
    return error == std::errc() ? std::string(text, end) : "?";
}

std::string rangeText(const io::DisplaySettings& settings) {
    const auto one = [](const std::array<double, 2>& range) {
        return shortNumber(range[0]) + " to " + shortNumber(range[1]);
    };
    if (settings.range[0] == settings.range[1] && settings.range[1] == settings.range[2])
        return one(settings.range[0]);
    return "R " + one(settings.range[0]) + ", G " + one(settings.range[1]) + ", B " +
           one(settings.range[2]);
}

}  // namespace

int bandNamed(const io::ImageInfo& info, const std::string& name) {
    int number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    const bool isNumber = error == std::errc() && end == name.data() + name.size();
    if (isNumber && number >= 1 && static_cast<size_t>(number) <= info.bands.size())
        return number - 1;
    constexpr std::pair<const char*, io::BandRole> kRoles[] = {{"red", io::BandRole::Red},
                                                               {"green", io::BandRole::Green},
                                                               {"blue", io::BandRole::Blue},
                                                               {"grey", io::BandRole::Grey},
                                                               {"nir", io::BandRole::NearInfrared}};
    for (size_t i = 0; !isNumber && i < info.bands.size(); ++i)
        if (lower(info.bands[i].name) == lower(name)) return static_cast<int>(i);
    for (const auto& [word, role] : kRoles)
        for (size_t i = 0; !isNumber && i < info.bands.size(); ++i)
            if (lower(name) == word && info.bands[i].role == role) return static_cast<int>(i);
    std::string known;
    for (size_t i = 0; i < std::min<size_t>(info.bands.size(), 20); ++i)
        known += (i ? ", " : "") + std::to_string(i + 1) +
                 (info.bands[i].name.empty() ? "" : " (" + info.bands[i].name + ")");
    throw std::runtime_error(info.path + ": there is no band " + name + "; the image has " +
                             std::to_string(info.bands.size()) + ": " + known +
                             ". Say which ones the network is given, e.g. --bands 3,2,1");
}

InputChoice parseInputChoice(const std::string& bands, const std::string& stretch) {
    InputChoice choice;
    if (!trimmed(bands).empty()) {
        choice.bands = split(bands, ',');
        if (choice.bands.size() != 3 ||
            std::any_of(choice.bands.begin(), choice.bands.end(), [](const std::string& name) {
                const auto number = numberIn(name);
                return name.empty() || (number && !(*number >= 1));
            }))
            throw std::invalid_argument(
                "--bands is RED,GREEN,BLUE: three band numbers counted from 1, or names, not \"" +
                bands + "\"");
    }
    const std::string text = lower(trimmed(stretch));
    if (text.empty()) return choice;
    if (text == "none") {
        choice.stretch = io::Stretch::None;
    } else if (text == "percentile") {
        choice.stretch = io::Stretch::Percentile;
    } else if (text == "minmax") {
        choice.stretch = io::Stretch::MinMax;
    } else if (text.back() == '%') {
        const auto parts = split(text.substr(0, text.size() - 1), '-');
        const auto low = numberIn(parts[0]), high = numberIn(parts.back());
        if (parts.size() != 2 || !low || !high || !(*low >= 0 && *low < *high && *high <= 100))
            throw std::invalid_argument(
                "--stretch: percentiles are LOW-HIGH%, such as 1-99%, not \"" + stretch + "\"");
        choice.stretch = io::Stretch::Percentile;
        choice.lowPercent = *low;
        choice.highPercent = *high;
    } else {
        const auto parts = split(text, ',');
        const auto low = numberIn(parts[0]), high = numberIn(parts.back());
        if (parts.size() != 2 || !low || !high || !(*high > *low))
            throw std::invalid_argument(
                "--stretch is none, percentile, LOW-HIGH%, minmax or LOW,HIGH, not \"" + stretch +
                "\"");
        choice.stretch = io::Stretch::Given;
        choice.range.fill({*low, *high});
    }
    return choice;
}

io::DisplaySettings modelInputSettings(const io::ImageInfo& info, const ModelConfig& model,
                                       const InputChoice& choice) {
    io::DisplaySettings settings = io::defaultDisplay(info);
    // A network of more or fewer bands than colour has takes them by storedBands().
    if (!choice.bands.empty())
        setBands(info, choice.bands, settings);
    else if (model.colourBands.size() == 3)
        setBands(info, model.colourBands, settings);
    // A network that asks for the file's own numbers gets them, unless the user wants 8 bits.
    if (model.inputValues != InputValues::Color) settings.stretch = io::Stretch::None;
    setScaling(choice.stretch ? choice : parseInputChoice("", model.colourScaling), settings);
    return settings;
}

std::vector<int> storedBands(const io::ImageInfo& info, const ModelConfig& model,
                             const io::DisplaySettings& settings) {
    const bool three = model.inputBands == 3;
    if (model.inputValues == InputValues::Color) return {};
    if (three && settings.stretch != io::Stretch::None) return {};
    const auto& s = settings.bands;
    const bool scaled =
        model.inputValues == InputValues::Physical && std::any_of(s.begin(), s.end(), [&](int b) {
            return info.bands[static_cast<size_t>(b)].isScaled();
        });
    // Three bands of bytes divided by 255 are what colour is.
    if (three && info.type == io::SampleType::UInt8 && !scaled && model.inputDivisor == 255)
        return {};
    if (three) return {s.begin(), s.end()};
    std::vector<int> bands;
    for (const auto& name : model.colourBands) bands.push_back(bandNamed(info, name));
    if (!bands.empty()) return bands;
    if (static_cast<size_t>(model.inputBands) > info.bands.size())
        throw std::runtime_error(info.path + ": the model " + model.name + " looks at " +
                                 std::to_string(model.inputBands) + " bands, the image has " +
                                 std::to_string(info.bands.size()));
    for (int64_t i = 0; i < model.inputBands; ++i) bands.push_back(static_cast<int>(i));
    return bands;
}

std::shared_ptr<const io::ColorSource> openModelInput(const io::SourcePtr& source,
                                                      const ModelConfig& model,
                                                      const InputChoice& choice,
                                                      std::shared_ptr<io::TileCache> cache) {
    return std::make_shared<io::ColorSource>(
        source, modelInputSettings(source->info(), model, choice), std::move(cache));
}

std::string modelInputLine(const io::ImageInfo& info, const io::DisplaySettings& settings,
                           const ModelConfig* model) {
    std::string line = "Input:";
    const auto stored = model ? storedBands(info, *model, settings) : std::vector<int>{};
    if (!stored.empty()) {
        line += " bands";
        for (int band : stored) line += " " + std::to_string(band + 1);
        line += model->inputValues == InputValues::Physical
                    ? ", numbers of the file with its scale and offset"
                    : ", numbers of the file";
        return model->inputDivisor == 1 ? line
                                        : line + ", divided by " + shortNumber(model->inputDivisor);
    }
    const char* const names[] = {" R=", " G=", " B="};
    if (info.bands.size() == 1) {
        line += " the only band as grey";
    } else {
        for (size_t i = 0; i < 3; ++i) line += names[i] + std::to_string(settings.bands[i] + 1);
    }
    switch (settings.stretch) {
        case io::Stretch::None:
            return line + (info.type == io::SampleType::UInt8
                               ? ", 8-bit values as they are"
                               : ", numbers of the file as they are");
        case io::Stretch::Percentile:
            return line + ", " + shortNumber(settings.lowPercent) + "-" +
                   shortNumber(settings.highPercent) + " % of the image (" + rangeText(settings) +
                   ")";
        case io::Stretch::MinMax:
            return line + ", smallest to largest value of the image (" + rangeText(settings) + ")";
        case io::Stretch::Given:
            break;
    }
    return line + ", values " + rangeText(settings) + ", as given";
}

const char* stretchName(io::Stretch stretch) {
    switch (stretch) {
        case io::Stretch::None:
            return "none";
        case io::Stretch::Percentile:
            return "percentile";
        case io::Stretch::MinMax:
            return "minmax";
        case io::Stretch::Given:
            break;
    }
    return "given";
}

}  // namespace atlas::engine
