// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/journal.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace atlas::engine {
namespace {

constexpr uint32_t kMagic = 0x32534c41;  // "ALS2"
constexpr int64_t kMostSide = 65536;     // of a map, in tokens or pixels
constexpr const char* kPrefix = "journal-";
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
            if (map.side < 0 || map.side > kMostSide ||
                static_cast<uint64_t>(map.side * map.side) != map.values.size())
                throw std::runtime_error("journal record is damaged");
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

std::vector<char> pack(const ContextResult& result) {
    Packer packer;
    packer.add(result.probabilities);
    packer.add(result.meanMass);
    packer.add(result.received);
    packer.add(result.mass);
    packer.add(result.segments);
    return std::move(packer.data);
}

ContextResult unpack(const std::vector<char>& data) {
    Unpacker from(data);
    ContextResult result;
    result.probabilities = from.floats();
    result.meanMass = from.floats();
    result.received = from.maps();
    result.mass = from.maps();
    result.segments = from.maps();
    return result;
}

/// The record that begins where `file` stands; false where it is torn or damaged. A damaged length
/// allocates no more than what is left of the file.
bool readRecord(std::istream& file, uint64_t left, Header& header, ContextResult& result) {
    if (left < sizeof header || !file.read(reinterpret_cast<char*>(&header), sizeof header) ||
        header.magic != kMagic || header.bytes > kMaxRecordBytes ||
        header.bytes > left - sizeof header)
        return false;
    std::vector<char> data(header.bytes);
    if (!file.read(data.data(), static_cast<std::streamsize>(data.size())) ||
        checksumOf(data) != header.checksum)
        return false;
    try {
        result = unpack(data);
    } catch (const std::runtime_error&) {
        return false;
    }
    return true;
}

uint64_t sizeOf(const std::filesystem::path& path) {
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    return error ? 0 : size;
}

std::vector<std::filesystem::path> journalsIn(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error))
        if (entry.path().filename().string().starts_with(kPrefix)) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
}

}  // namespace

Journal::Journal(const std::filesystem::path& folder, const std::string& token,
                 const Replay& replay)
    : paths_(journalsIn(folder)) {
    for (size_t i = 0; i < paths_.size(); ++i) replayFile(i, replay);
    paths_.push_back(folder / (kPrefix + token));
    file_.open(paths_.back(), std::ios::binary | std::ios::trunc);
    if (!file_)
        throw std::runtime_error(paths_.back().string() + ": the journal cannot be written");
}

void Journal::replayFile(size_t file, const Replay& replay) {
    std::ifstream in(paths_[file], std::ios::binary);
    const uint64_t size = sizeOf(paths_[file]);
    Header header{};
    ContextResult result;
    for (uint64_t at = 0; readRecord(in, size - at, header, result);
         at += sizeof header + header.bytes) {
        places_[header.context] = {file, at};
        replay(header.context, result);
    }
}

void Journal::append(int64_t context, const ContextResult& result) {
    const std::vector<char> data = pack(result);
    const Header header{kMagic, 0, context, data.size(), checksumOf(data)};
    file_.write(reinterpret_cast<const char*>(&header), sizeof header);
    file_.write(data.data(), static_cast<std::streamsize>(data.size()));
    file_.flush();
    if (!file_)
        throw std::runtime_error(paths_.back().string() +
                                 ": cannot be written (is the disk full?)");
    places_[context] = {paths_.size() - 1, end_};
    end_ += sizeof header + data.size();
}

ContextResult Journal::read(int64_t context) const {
    const auto place = places_.find(context);
    if (place == places_.end())
        throw std::runtime_error(paths_.back().parent_path().string() + ": context " +
                                 std::to_string(context) + " is not in the journal");
    const auto& path = paths_[place->second.file];
    auto [reader, isNew] = readers_.try_emplace(place->second.file);
    if (isNew) reader->second.open(path, std::ios::binary);
    reader->second.clear();
    reader->second.seekg(static_cast<std::streamoff>(place->second.at));
    Header header{};
    ContextResult result;
    if (!readRecord(reader->second, sizeOf(path) - place->second.at, header, result) ||
        header.context != context)
        throw std::runtime_error(path.string() + ": the record of context " +
                                 std::to_string(context) + " cannot be read again");
    return result;
}

void Journal::remove(const std::filesystem::path& folder) {
    for (const auto& path : journalsIn(folder)) std::filesystem::remove(path);
}

}  // namespace atlas::engine
