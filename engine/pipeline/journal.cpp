// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/journal.h"

#include <cstring>
#include <stdexcept>
#include <system_error>

namespace atlas::engine {
namespace {

constexpr uint32_t kMagic = 0x32534c41;  // "ALS2"
constexpr uint64_t kMaxRecordBytes = uint64_t{1} << 30;

struct Header {
    uint32_t magic;
    uint32_t reserved;
    int64_t context;
    uint64_t bytes;
    uint64_t checksum;
};

uint64_t checksumOf(const std::vector<char>& data) {
    uint64_t hash = 0xcbf29ce484222325ull;
    for (char c : data) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
    return hash;
}

class Packer {
  public:
    void add(const std::vector<float>& values) {
        add(static_cast<int64_t>(values.size()));
        const auto* first = reinterpret_cast<const char*>(values.data());
        data.insert(data.end(), first, first + values.size() * sizeof(float));
    }
    void add(int64_t value) {
        const auto* first = reinterpret_cast<const char*>(&value);
        data.insert(data.end(), first, first + sizeof value);
    }
    void add(const std::vector<ScaleMap>& maps) {
        add(static_cast<int64_t>(maps.size()));
        for (const auto& map : maps) {
            add(map.side);
            add(map.values);
        }
    }
    std::vector<char> data;
};

class Unpacker {
  public:
    explicit Unpacker(const std::vector<char>& data) : data_(data) {}
    int64_t number() {
        int64_t value = 0;
        take(&value, sizeof value);
        return value;
    }
    std::vector<float> floats() {
        const int64_t count = number();
        if (count < 0 || static_cast<uint64_t>(count) * sizeof(float) > data_.size() - at_)
            throw std::runtime_error("journal record is damaged");
        std::vector<float> values(static_cast<size_t>(count));
        take(values.data(), values.size() * sizeof(float));
        return values;
    }
    std::vector<ScaleMap> maps() {
        const int64_t count = number();
        if (count < 0 || count > 64) throw std::runtime_error("journal record is damaged");
        std::vector<ScaleMap> result(static_cast<size_t>(count));
        for (auto& map : result) {
            map.side = number();
            map.values = floats();
        }
        return result;
    }

  private:
    void take(void* to, size_t bytes) {
        if (bytes > data_.size() - at_) throw std::runtime_error("journal record is damaged");
        if (bytes) std::memcpy(to, data_.data() + at_, bytes);
        at_ += bytes;
    }
    const std::vector<char>& data_;
    size_t at_ = 0;
};

}  // namespace

Journal::Journal(const std::filesystem::path& path, const Replay& replay) : path_(path) {
    uint64_t good = 0;
    {
        std::ifstream old(path, std::ios::binary);
        Header header{};
        while (old.read(reinterpret_cast<char*>(&header), sizeof header)) {
            if (header.magic != kMagic || header.bytes > kMaxRecordBytes) break;
            std::vector<char> data(header.bytes);
            if (!old.read(data.data(), static_cast<std::streamsize>(data.size())) ||
                checksumOf(data) != header.checksum)
                break;
            Unpacker from(data);
            ContextResult result;
            result.probabilities = from.floats();
            result.meanMass = from.floats();
            result.received = from.maps();
            result.mass = from.maps();
            result.segments = from.maps();
            replay(header.context, std::move(result));
            good += sizeof header + header.bytes;
        }
    }
    std::error_code error;
    if (std::filesystem::exists(path)) std::filesystem::resize_file(path, good, error);
    file_.open(path, std::ios::binary | std::ios::app);
    if (!file_ || error)
        throw std::runtime_error(path.string() + ": the journal cannot be written");
}

void Journal::append(int64_t context, const ContextResult& result) {
    Packer packer;
    packer.add(result.probabilities);
    packer.add(result.meanMass);
    packer.add(result.received);
    packer.add(result.mass);
    packer.add(result.segments);
    const Header header{kMagic, 0, context, packer.data.size(), checksumOf(packer.data)};
    file_.write(reinterpret_cast<const char*>(&header), sizeof header);
    file_.write(packer.data.data(), static_cast<std::streamsize>(packer.data.size()));
    file_.flush();
    if (!file_)
        throw std::runtime_error(path_.string() + ": cannot be written (is the disk full?)");
}

}  // namespace atlas::engine
