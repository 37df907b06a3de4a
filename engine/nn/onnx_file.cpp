// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/onnx_file.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMetadataField = 14, kMostField = 64;  // of ModelProto
constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;
constexpr uint64_t kMostMetadata = uint64_t{1} << 20;  // bytes of one entry

/// The top level of a protocol buffer, field by field; what is long is skipped by seeking.
class Fields {
  public:
    explicit Fields(const fs::path& file)
        : stream_(file, std::ios::binary), size_(fs::file_size(file)) {
        if (!stream_) throw ModelError("cannot be read");
    }
    /// The next entry of metadata; false at the end of the file.
    bool next(std::string& bytes) {
        while (at() < size_) {
            const uint64_t tag = varint();
            const int type = static_cast<int>(tag & 7);
            const uint64_t field = tag >> 3;
            if (field < 1 || field > kMostField) throw ModelError("is no ONNX model");
            if (type == kVarint) {
                varint();
            } else if (type == kFixed64 || type == kFixed32) {
                skip(type == kFixed64 ? 8 : 4);
            } else if (type == kBytes) {
                const uint64_t length = varint();
                if (length > size_ - at()) throw ModelError("is cut off or damaged");
                if (field == kMetadataField && length <= kMostMetadata) {
                    bytes.resize(length);
                    if (!stream_.read(bytes.data(), static_cast<std::streamsize>(length)))
                        throw ModelError("cannot be read");
                    return true;
                }
                skip(length);
            } else {
                throw ModelError("is no ONNX model");
            }
        }
        return false;
    }

  private:
    uint64_t at() { return static_cast<uint64_t>(stream_.tellg()); }
    void skip(uint64_t bytes) {
        if (bytes > size_ - at()) throw ModelError("is cut off or damaged");
        stream_.seekg(static_cast<std::streamoff>(bytes), std::ios::cur);
    }
    uint64_t varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            const int byte = stream_.get();
            if (byte < 0) throw ModelError("is cut off or damaged");
            value |= static_cast<uint64_t>(byte & 127) << shift;
            if (byte < 128) return value;
        }
        throw ModelError("is no ONNX model");
    }
    std::ifstream stream_;
    uint64_t size_;
};

/// The strings of a StringStringEntryProto: key (1) and value (2).
std::pair<std::string, std::string> entryOf(const std::string& bytes) {
    std::pair<std::string, std::string> entry;
    for (size_t i = 0; i + 1 < bytes.size();) {
        const auto tag = static_cast<unsigned char>(bytes[i++]);
        uint64_t length = 0;
        for (int shift = 0; i < bytes.size() && shift < 35; shift += 7) {
            const auto byte = static_cast<unsigned char>(bytes[i++]);
            length |= static_cast<uint64_t>(byte & 127) << shift;
            if (byte < 128) break;
        }
        if (length > bytes.size() - i) throw ModelError("has damaged metadata");
        (tag >> 3 == 1 ? entry.first : entry.second) = bytes.substr(i, length);
        i += length;
    }
    return entry;
}

/// Deepness writes JSON into each value; a bare word is taken as itself.
json valueOf(const std::map<std::string, std::string>& metadata, const char* key) {
    const auto found = metadata.find(key);
    if (found == metadata.end()) return {};
    const json value = json::parse(found->second, nullptr, /*allow_exceptions=*/false);
    return value.is_discarded() ? json(found->second) : value;
}

std::vector<std::string> classNamesOf(const json& names) {
    std::map<int, std::string> sorted;
    if (names.is_array())
        for (size_t i = 0; i < names.size(); ++i)
            sorted[static_cast<int>(i)] = names[i].get<std::string>();
    else if (names.is_object())
        for (const auto& [id, name] : names.items())
            sorted[std::stoi(id)] = name.get<std::string>();
    else
        throw ModelError("has no \"class_names\" in its metadata (Deepness' keys are needed)");
    std::vector<std::string> result;
    for (const auto& [id, name] : sorted) {
        if (id != static_cast<int>(result.size()))
            throw ModelError("\"class_names\" do not count from 0");
        result.push_back(name);
    }
    if (result.empty()) throw ModelError("\"class_names\" are empty");
    return result;
}

/// One number for all bands, or one a band; at least three come back.
std::vector<float> perBand(const json& value, float otherwise, const char* key) {
    if (value.is_null()) return {otherwise, otherwise, otherwise};
    auto list =
        value.is_array() ? value.get<std::vector<float>>() : std::vector<float>{value.get<float>()};
    if (list.empty() ||
        !std::all_of(list.begin(), list.end(), [](float v) { return std::isfinite(v); }))
        throw ModelError(std::string("\"") + key + "\" needs one number, or one a band");
    if (list.size() < 3) list.resize(3, list.back());
    return list;
}

/// Deepness divides what the image holds by 255. Our own "input_values" asks for "stored" numbers
/// as they are, for "physical" ones (with the file's scale and offset), or for 8-bit "color".
void readInputValues(const std::map<std::string, std::string>& metadata, ModelConfig& config) {
    const json asked = valueOf(metadata, "input_values");
    const std::string word = asked.is_string() ? asked.get<std::string>() : "";
    config.inputValues = InputValues::Stored;
    if (word == "physical") config.inputValues = InputValues::Physical;
    if (word == "color") config.inputValues = InputValues::Color;
    if (word == "stored" || word == "physical") config.inputDivisor = 1;
    if (!asked.is_null() && word != "stored" && word != "physical" && word != "color")
        throw ModelError("\"input_values\" is " + asked.dump() +
                         "; stored, physical and color are known here");
    const json bands = valueOf(metadata, "bands");
    if (bands.is_null()) return;
    if (!bands.is_array()) throw ModelError("\"bands\" must be a list of numbers or names");
    for (const auto& band : bands)
        config.colourBands.push_back(band.is_string() ? band.get<std::string>()
                                                      : std::to_string(band.get<int64_t>()));
}

double numberOf(const json& value, const char* key) {
    const json& one = value.is_array() && !value.empty() ? value.front() : value;
    if (one.is_number()) return one.get<double>();
    throw ModelError(std::string("has no \"") + key +
                     "\" in its metadata (Deepness' keys are needed)");
}

}  // namespace

fs::path findOnnx(const fs::path& model) {
    std::error_code error;
    if (fs::is_regular_file(model, error)) return model.extension() == ".onnx" ? model : fs::path();
    if (fs::exists(model / "config.json", error)) return {};
    fs::path found;
    for (const auto& entry : fs::directory_iterator(model, error)) {
        const auto kind = entry.path().extension();
        if (kind == ".md" || kind == ".txt" || kind == ".json" || kind.empty()) continue;
        if (kind != ".onnx" || !found.empty()) return {};  // a folder of images, or of models
        found = entry.path();
    }
    return found;
}

std::map<std::string, std::string> readOnnxMetadata(const fs::path& file) try {
    std::map<std::string, std::string> metadata;
    Fields fields(file);
    std::string bytes;
    while (fields.next(bytes)) metadata.insert(entryOf(bytes));
    return metadata;
} catch (const fs::filesystem_error& error) {
    throw ModelError(file.string() + ": " + error.code().message());
} catch (const std::exception& error) {
    throw ModelError(file.string() + ": " + error.what());
}

ModelConfig configOfOnnx(const fs::path& file) {
    const auto metadata = readOnnxMetadata(file);
    try {
        ModelConfig config;
        config.architecture = kOnnx;
        config.name = file.stem().string();
        const auto type = valueOf(metadata, "model_type");
        const std::string kind = type.is_string() ? type.get<std::string>() : "";
        if (kind != "Segmentor" && kind != "Classifier")
            throw ModelError("\"model_type\" is \"" + kind +
                             "\"; Segmentor and Classifier are known here");
        config.description = "ONNX " + kind;
        const auto text = [&](const char* key) {
            const json value = valueOf(metadata, key);
            return value.is_string() ? value.get<std::string>() : std::string();
        };
        if (!text("description").empty()) config.description = text("description");
        config.licence = text("licence").empty() ? text("license") : text("licence");
        const json names = valueOf(metadata, "class_names");
        config.classNames = classNamesOf(names.is_null() ? valueOf(metadata, "names") : names);
        config.singleLogit = config.classNames.size() == 1;
        if (config.singleLogit) config.classNames.push_back("not " + config.classNames[0]);
        json side = valueOf(metadata, "tile_size");
        if (side.is_null()) side = valueOf(metadata, "tiles_size");
        const double sidePx = numberOf(side, "tile_size");
        if (!(sidePx >= 16 && sidePx <= 8192) || sidePx != std::floor(sidePx))
            throw ModelError("\"tile_size\" must lie between 16 and 8192");
        config.patchSizePx = static_cast<int64_t>(sidePx);
        const double centimetres = numberOf(valueOf(metadata, "resolution"), "resolution");
        if (!(centimetres > 0) || !std::isfinite(centimetres))
            throw ModelError("\"resolution\" must be above 0 (cm a pixel)");
        config.spacingUmPx = centimetres * 1e4;
        config.ground = centimetres >= 0.1;  // finer than a millimetre: a slide
        config.mean = perBand(valueOf(metadata, "standardization_mean"), 0, "standardization_mean");
        config.std = perBand(valueOf(metadata, "standardization_std"), 1, "standardization_std");
        for (float v : config.std)
            if (!(v > 0)) throw ModelError("\"standardization_std\" must be above 0");
        readInputValues(metadata, config);
        if (kind == "Segmentor") config.segmentSide = config.patchSizePx;
        config.classColors = defaultClassColors(config.classNames.size());
        if (config.singleLogit) config.classColors[1] = {200, 200, 200};
        config.backbone = json(metadata).dump(-1, ' ', false, json::error_handler_t::replace);
        return config;
    } catch (const std::exception& error) {
        throw ModelError(file.string() + ": " + error.what());
    }
}

}  // namespace atlas::engine
