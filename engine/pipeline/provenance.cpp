// SPDX-License-Identifier: Apache-2.0
#include <openssl/evp.h>

#include <fstream>
#include <memory>
#include <stdexcept>

#include "engine/pipeline/run_folder.h"

namespace atlas::engine {
namespace {

class Sha256 {
  public:
    Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
    }
    void add(const void* data, size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
    std::string hex() {
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned int size = 0;
        EVP_DigestFinal_ex(context_.get(), digest, &size);
        static constexpr char kDigits[] = "0123456789abcdef";
        std::string text;
        for (unsigned int i = 0; i < size; ++i) {
            text += kDigits[digest[i] >> 4];
            text += kDigits[digest[i] & 15];
        }
        return text;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256Of(std::string_view bytes) {
    Sha256 sha;
    sha.add(bytes.data(), bytes.size());
    return sha.hex();
}

std::string fileSha256(const std::filesystem::path& path, const std::stop_token& stop) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path.string() + ": cannot be opened");
    Sha256 sha;
    std::vector<char> buffer(1 << 20);
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount()) {
        if (stop.stop_requested()) return {};
        sha.add(buffer.data(), static_cast<size_t>(file.gcount()));
    }
    return sha.hex();
}

std::string sourceFingerprint(const std::string& path) {
    Sha256 sha;
    const std::string name = std::filesystem::path(path).filename().string();
    sha.add(name.data(), name.size());
    std::ifstream file(path, std::ios::binary);
    if (!file) {  // no file behind it: a synthetic scene or a sub-dataset; the name says it all
        sha.add(path.data(), path.size());
        return sha.hex();
    }
    constexpr std::streamoff kPart = 1 << 20;
    file.seekg(0, std::ios::end);
    const std::streamoff size = file.tellg();
    const std::string text = std::to_string(size);
    sha.add(text.data(), text.size());
    std::vector<char> buffer(kPart);
    for (std::streamoff from : {std::streamoff{0}, std::max(std::streamoff{0}, size - kPart)}) {
        file.clear();
        file.seekg(from);
        file.read(buffer.data(), kPart);
        sha.add(buffer.data(), static_cast<size_t>(file.gcount()));
    }
    return sha.hex();
}

std::string derivedUuid(const std::string& text) {
    Sha256 sha;
    sha.add(text.data(), text.size());
    std::string hex = sha.hex().substr(0, 32);
    hex[12] = '5';
    hex[16] = "89ab"[(hex[16] >= 'a' ? hex[16] - 'a' + 10 : hex[16] - '0') & 3];
    return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" +
           hex.substr(16, 4) + "-" + hex.substr(20);
}

std::filesystem::path runRoot(const std::filesystem::path& out, const std::string& image) {
    std::string name = std::filesystem::path(image).filename().string();
    for (char& c : name)
        if (c == ':' || c == '"' || c == '=' || c == ',') c = '_';
    return out / (name + ".atlas");
}

}  // namespace atlas::engine
