// SPDX-License-Identifier: Apache-2.0
#include "engine/nn/runner_checkpoint.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

namespace atlas::engine {
namespace {

constexpr char kMagic[8] = {'A', 'T', 'L', 'A', 'S', 'C', 'P', '1'};
constexpr int64_t kMostName = 4096;
constexpr int64_t kBufferFloats = int64_t{1} << 20;

/// FNV-1a over 8 bytes at a time; floats come in whole arrays, so their count is even or padded.
class Checksum {
  public:
    void add(const void* data, size_t bytes) {
        const auto* p = static_cast<const unsigned char*>(data);
        while (bytes >= 8) {
            uint64_t word;
            std::memcpy(&word, p, 8);
            mix(word);
            p += 8;
            bytes -= 8;
        }
        uint64_t rest = 0;
        std::memcpy(&rest, p, bytes);
        if (bytes > 0) mix(rest);
    }
    uint64_t value() const { return value_; }

  private:
    void mix(uint64_t word) {
        value_ = (value_ ^ word) * 0x100000001b3ull;
        value_ ^= value_ >> 29;
    }
    uint64_t value_ = 0xcbf29ce484222325ull;
};

struct Writer {
    std::ofstream& file;
    Checksum sum;
    void bytes(const void* data, size_t count) {
        file.write(static_cast<const char*>(data), static_cast<std::streamsize>(count));
        sum.add(data, count);
    }
    void number(int64_t value) { bytes(&value, sizeof value); }
    void text(const std::string& value) {
        number(static_cast<int64_t>(value.size()));
        bytes(value.data(), value.size());
    }
};

struct Reader {
    std::ifstream& file;
    Checksum sum;
    bool good = true;
    void bytes(void* data, size_t count) {
        file.read(static_cast<char*>(data), static_cast<std::streamsize>(count));
        good = good && static_cast<size_t>(file.gcount()) == count;
        if (good) sum.add(data, count);
    }
    int64_t number() {
        int64_t value = 0;
        bytes(&value, sizeof value);
        return good ? value : -1;
    }
    std::string text() {
        const int64_t size = number();
        if (size < 0 || size > kMostName) {
            good = false;
            return {};
        }
        std::string value(static_cast<size_t>(size), ' ');
        bytes(value.data(), value.size());
        return value;
    }
};

/// Calls `work` with a buffer for some items at a time.
template <typename Work>
void eachPart(const CheckpointArray& array, const Work& work) {
    const int64_t step = std::max<int64_t>(1, kBufferFloats / std::max<int64_t>(1, array.each));
    std::vector<float> buffer(static_cast<size_t>(std::min(step, array.count) * array.each));
    for (int64_t from = 0; from < array.count; from += step)
        work(from, std::min(from + step, array.count), buffer.data());
}

bool readHead(Reader& reader, const std::string& key, CheckpointPosition& position) {
    char magic[8] = {};
    reader.bytes(magic, sizeof magic);
    if (!reader.good || std::memcmp(magic, kMagic, sizeof magic) != 0) return false;
    if (reader.text() != key) return false;
    position.stage = reader.number();
    position.block = reader.number();
    position.rows = reader.number();
    position.file = reader.number();
    return reader.good;
}

}  // namespace

RunnerCheckpoint::RunnerCheckpoint(std::filesystem::path folder, std::string key)
    : folder_(std::move(folder)), key_(std::move(key)) {}

bool RunnerCheckpoint::open() {
    std::ifstream file(folder_ / "checkpoint.bin", std::ios::binary);
    Reader reader{file, {}, static_cast<bool>(file)};
    opened_ = readHead(reader, key_, position_);
    if (!opened_) position_ = {};
    return opened_;
}

bool RunnerCheckpoint::isBefore(int64_t stage, int64_t block) const {
    return opened_ && std::pair(stage, block) < std::pair(position_.stage, position_.block);
}

bool RunnerCheckpoint::read(const Arrays& arrays, Trace& trace) {
    std::error_code unknown;
    const auto bytes = std::filesystem::file_size(folder_ / "checkpoint.bin", unknown);
    const int64_t most =  // floats that the file can hold, whatever it says
        unknown ? 0 : static_cast<int64_t>(bytes / sizeof(float));
    std::ifstream file(folder_ / "checkpoint.bin", std::ios::binary);
    Reader reader{file, {}, static_cast<bool>(file)};
    CheckpointPosition position;
    Trace found;
    bool fits =
        readHead(reader, key_, position) && reader.number() == static_cast<int64_t>(arrays.size());
    for (size_t i = 0; fits && i < arrays.size(); ++i) {
        const auto& array = arrays[i];
        fits = reader.number() == array.count * array.each;
        eachPart(array, [&](int64_t from, int64_t to, float* buffer) {
            if (!fits) return;
            reader.bytes(buffer, static_cast<size_t>((to - from) * array.each) * sizeof(float));
            fits = reader.good;
            if (fits) array.set(from, to, buffer);
        });
    }
    const int64_t maps = fits ? reader.number() : 0;
    for (int64_t i = 0; fits && i < maps; ++i) {
        const std::string name = reader.text();
        const int64_t images = reader.number(), height = reader.number(), width = reader.number();
        constexpr int64_t kMostSide = int64_t{1} << 20;  // their product is no more than 2^60
        fits = reader.good && images > 0 && height > 0 && width > 0 && images < kMostSide &&
               height < kMostSide && width < kMostSide && images * height * width <= most;
        if (!fits) break;
        at::Tensor map = at::empty({images, height, width}, at::kFloat);
        reader.bytes(map.data_ptr<float>(), static_cast<size_t>(map.numel()) * sizeof(float));
        found[name] = map;
        fits = reader.good;
    }
    const uint64_t sum = reader.sum.value();
    fits = fits && static_cast<uint64_t>(reader.number()) == sum;
    if (fits)
        trace = std::move(found);
    else
        opened_ = false;
    return fits;
}

void RunnerCheckpoint::write(const CheckpointPosition& position, const Arrays& arrays,
                             const Trace& trace) {
    std::filesystem::create_directories(folder_);
    const auto path = folder_ / "checkpoint.bin", temporary = folder_ / "checkpoint.tmp";
    {
        std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
        Writer writer{file, {}};
        writer.bytes(kMagic, sizeof kMagic);
        writer.text(key_);
        writer.number(position.stage);
        writer.number(position.block);
        writer.number(position.rows);
        writer.number(position.file);
        writer.number(static_cast<int64_t>(arrays.size()));
        for (const auto& array : arrays) {
            writer.number(array.count * array.each);
            eachPart(array, [&](int64_t from, int64_t to, float* buffer) {
                array.get(from, to, buffer);
                writer.bytes(buffer, static_cast<size_t>((to - from) * array.each) * sizeof(float));
            });
        }
        writer.number(static_cast<int64_t>(trace.size()));
        for (const auto& [name, map] : trace) {
            const at::Tensor plain = map.contiguous();
            writer.text(name);
            for (int64_t d = 0; d < 3; ++d) writer.number(plain.size(d));
            writer.bytes(plain.const_data_ptr<float>(),
                         static_cast<size_t>(plain.numel()) * sizeof(float));
        }
        writer.number(static_cast<int64_t>(writer.sum.value()));
        file.close();
        if (!file) throw std::runtime_error(temporary.string() + ": cannot be written");
    }
    std::filesystem::rename(temporary, path);
}

void RunnerCheckpoint::remove() {
    std::error_code ignored;
    for (const char* name : {"checkpoint.bin", "checkpoint.tmp", "tokens-0.bin", "tokens-1.bin"})
        std::filesystem::remove(folder_ / name, ignored);
}

}  // namespace atlas::engine
