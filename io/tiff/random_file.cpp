// SPDX-License-Identifier: Apache-2.0
#include "io/tiff/random_file.h"

#include <filesystem>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <unistd.h>
#else
#include <fstream>
#include <mutex>
#endif

namespace atlas::io {

#if defined(__unix__) || defined(__APPLE__)

struct RandomFile::Handle {
    int descriptor;
};

RandomFile::~RandomFile() {
    if (handle_) ::close(handle_->descriptor);
    delete handle_;
}

bool RandomFile::open(const std::string& path) {
    std::error_code error;
    size_ = std::filesystem::file_size(path, error);
    const int descriptor = error ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    handle_ = new Handle{descriptor};
    return true;
}

bool RandomFile::read(uint64_t offset, void* to, uint64_t count) const {
    if (!handle_ || offset > size_ || count > size_ - offset) return false;
    auto* at = static_cast<char*>(to);
    while (count > 0) {
        const ssize_t got = ::pread(handle_->descriptor, at, count, static_cast<off_t>(offset));
        if (got <= 0) return false;
        at += got;
        offset += static_cast<uint64_t>(got);
        count -= static_cast<uint64_t>(got);
    }
    return true;
}

#else

struct RandomFile::Handle {
    std::mutex mutex;
    std::ifstream file;
};

RandomFile::~RandomFile() {
    delete handle_;
}

bool RandomFile::open(const std::string& path) {
    std::error_code error;
    size_ = std::filesystem::file_size(path, error);
    if (error) return false;
    handle_ = new Handle;
    handle_->file.open(path, std::ios::binary);
    return static_cast<bool>(handle_->file);
}

bool RandomFile::read(uint64_t offset, void* to, uint64_t count) const {
    if (!handle_ || offset > size_ || count > size_ - offset) return false;
    const std::lock_guard lock(handle_->mutex);
    handle_->file.clear();
    handle_->file.seekg(static_cast<std::streamoff>(offset));
    handle_->file.read(static_cast<char*>(to), static_cast<std::streamsize>(count));
    return static_cast<bool>(handle_->file);
}

#endif

}  // namespace atlas::io
