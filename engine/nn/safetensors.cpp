// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/safetensors.h"

#include <array>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "engine/nn/model_error.h"

namespace atlas::engine {
namespace {

struct TypeName {
    const char* name;
    at::ScalarType type;
};
constexpr std::array<TypeName, 10> kTypes{{{"F64", at::kDouble},
                                           {"F32", at::kFloat},
                                           {"F16", at::kHalf},
                                           {"BF16", at::kBFloat16},
                                           {"I64", at::kLong},
                                           {"I32", at::kInt},
                                           {"I16", at::kShort},
                                           {"I8", at::kChar},
                                           {"U8", at::kByte},
                                           {"BOOL", at::kBool}}};
constexpr uint64_t kMaxHeaderBytes = 100'000'000;

class Reader {
  public:
    explicit Reader(const std::filesystem::path& path)
        : path_(path), file_(path, std::ios::binary) {
        if (!file_) fail("cannot be opened");
        file_.seekg(0, std::ios::end);
        fileBytes_ = static_cast<uint64_t>(file_.tellg());
        file_.seekg(0);
    }

    StateDict read() {
        const nlohmann::json header = readHeader();
        StateDict tensors;
        for (const auto& [name, entry] : header.items())
            if (name != "__metadata__") tensors[name] = readTensor(name, entry);
        return tensors;
    }

  private:
    [[noreturn]] void fail(const std::string& cause) const {
        throw ModelError(path_.string() + ": " + cause);
    }

    nlohmann::json readHeader() {
        std::array<unsigned char, 8> bytes{};
        if (fileBytes_ < 8 || !file_.read(reinterpret_cast<char*>(bytes.data()), 8))
            fail("is no safetensors file (shorter than its header)");
        uint64_t size = 0;
        for (int i = 7; i >= 0; --i) size = size << 8 | bytes[i];
        if (size > kMaxHeaderBytes || size > fileBytes_ - 8)
            fail("is no safetensors file (header of " + std::to_string(size) + " bytes)");
        std::string text(size, '\0');
        if (!file_.read(text.data(), static_cast<std::streamsize>(size))) fail("cannot be read");
        dataStart_ = 8 + size;
        auto header = nlohmann::json::parse(text, nullptr, false);
        if (!header.is_object()) fail("is no safetensors file (header is not a JSON object)");
        return header;
    }

    at::Tensor readTensor(const std::string& name, const nlohmann::json& entry) try {
        const std::string typeName = entry.at("dtype").get<std::string>();
        const TypeName* type = nullptr;
        for (const auto& known : kTypes)
            if (typeName == known.name) type = &known;
        if (!type) fail("tensor " + name + " has the unknown type " + typeName);
        const auto shape = entry.at("shape").get<std::vector<int64_t>>();
        const auto begin = entry.at("data_offsets").at(0).get<uint64_t>();
        const auto end = entry.at("data_offsets").at(1).get<uint64_t>();
        const uint64_t available = fileBytes_ - dataStart_;
        if (begin > end || end > available) fail("tensor " + name + " lies outside of the file");
        uint64_t expected = c10::elementSize(type->type);
        for (int64_t side : shape) {
            if (side < 0 || (side > 0 && expected > available / static_cast<uint64_t>(side)))
                fail("tensor " + name + " has a shape that does not fit the file");
            expected *= static_cast<uint64_t>(side);
        }
        if (expected != end - begin) fail("tensor " + name + ": shape and size disagree");
        at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(type->type));
        file_.seekg(static_cast<std::streamoff>(dataStart_ + begin));
        if (expected && !file_.read(static_cast<char*>(tensor.data_ptr()),
                                    static_cast<std::streamsize>(expected)))
            fail("tensor " + name + " cannot be read");
        return tensor;
    } catch (const nlohmann::json::exception& error) {
        fail("tensor " + name + ": " + error.what());
    }

    std::filesystem::path path_;
    std::ifstream file_;
    uint64_t fileBytes_ = 0;
    uint64_t dataStart_ = 0;
};

const char* typeName(const at::Tensor& tensor) {
    for (const auto& known : kTypes)
        if (tensor.scalar_type() == known.type) return known.name;
    throw ModelError("safetensors: a tensor of an unsupported type");
}

}  // namespace

StateDict loadSafetensors(const std::filesystem::path& path) {
    return Reader(path).read();
}

StateDict loadWeights(const std::filesystem::path& path, at::Device device) {
    StateDict weights = loadSafetensors(path);
    for (auto& [name, tensor] : weights)
        if (tensor.is_floating_point()) tensor = tensor.to(device, at::kFloat);
    return weights;
}

void saveSafetensors(const std::filesystem::path& path, const StateDict& tensors,
                     const std::map<std::string, std::string>& metadata) {
    nlohmann::json header = nlohmann::json::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    uint64_t offset = 0;
    for (const auto& [name, tensor] : tensors) {
        header[name] = {{"dtype", typeName(tensor)},
                        {"shape", tensor.sizes().vec()},
                        {"data_offsets", {offset, offset + tensor.nbytes()}}};
        offset += tensor.nbytes();
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    auto temporary = path;
    temporary += ".tmp";
    {
        std::ofstream file(temporary, std::ios::binary);
        std::array<char, 8> size{};
        for (size_t i = 0; i < 8; ++i) size[i] = static_cast<char>(text.size() >> (8 * i));
        file.write(size.data(), 8);
        file.write(text.data(), static_cast<std::streamsize>(text.size()));
        for (const auto& [name, tensor] : tensors) {
            const at::Tensor plain = tensor.detach().to(at::kCPU).contiguous();
            file.write(static_cast<const char*>(plain.data_ptr()),
                       static_cast<std::streamsize>(plain.nbytes()));
        }
        file.close();
        if (!file) throw ModelError(temporary.string() + ": cannot be written (is the disk full?)");
    }
    std::error_code error;
    std::filesystem::rename(temporary, path, error);
    if (error) throw ModelError(path.string() + ": " + error.message());
}

}  // namespace atlas::engine
