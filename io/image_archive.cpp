// SPDX-License-Identifier: Apache-2.0
#include "io/image_archive.h"

#include <zip.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <set>

#include "io/ascii.h"

namespace atlas::io {
namespace {

constexpr uint64_t kMaxEntryBytes = uint64_t{1} << 28;

bool isImageName(const std::string& given) {
    const std::string name = lowerAscii(given);
    for (const char* ending : {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp"})
        if (name.ends_with(ending)) return true;
    return false;
}

}  // namespace

ImageArchive::ImageArchive(const std::filesystem::path& path) : path_(path) {
    if (std::filesystem::is_directory(path))
        listFolder();
    else
        listZip();
    if (files_.empty())
        throw ReadError(path.string() + ": holds no images in class folders (CLASS/NAME.jpg)");
    assignLabels();
}

void ImageArchive::listFolder() {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_))
        if (entry.is_regular_file() && isImageName(entry.path().filename().string()))
            paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        contents_.emplace_back(std::istreambuf_iterator<char>(file),
                               std::istreambuf_iterator<char>());
        if (!file) throw ReadError(path.string() + ": cannot be read");
        files_.push_back({std::filesystem::relative(path, path_).generic_string(), 0});
    }
}

void ImageArchive::listZip() {
    int code = 0;
    zip_t* archive = zip_open(path_.c_str(), ZIP_RDONLY, &code);
    if (!archive) {
        zip_error_t error;
        zip_error_init_with_code(&error, code);
        const std::string cause = zip_error_strerror(&error);
        zip_error_fini(&error);
        throw ReadError(path_.string() + ": neither a folder nor a zip file (" + cause + ")");
    }
    struct Closer {
        zip_t* archive;
        ~Closer() { zip_discard(archive); }
    } closer{archive};
    const zip_int64_t count = zip_get_num_entries(archive, 0);
    std::vector<std::pair<std::string, zip_uint64_t>> entries;
    for (zip_int64_t i = 0; i < count; ++i) {
        const auto index = static_cast<zip_uint64_t>(i);
        const char* name = zip_get_name(archive, index, 0);
        if (name && isImageName(name)) entries.emplace_back(name, index);
    }
    std::sort(entries.begin(), entries.end());
    for (const auto& [name, index] : entries) {
        zip_stat_t stat;
        if (zip_stat_index(archive, index, 0, &stat) != 0 || stat.size > kMaxEntryBytes)
            throw ReadError(path_.string() + ": entry " + name + " is too large or damaged");
        std::vector<uint8_t> bytes(stat.size);
        zip_file_t* file = zip_fopen_index(archive, index, 0);
        const bool good = file && zip_fread(file, bytes.data(), bytes.size()) ==
                                      static_cast<zip_int64_t>(bytes.size());
        if (file) zip_fclose(file);
        if (!good) throw ReadError(path_.string() + ": entry " + name + " cannot be read");
        contents_.push_back(std::move(bytes));
        files_.push_back({name, 0});
    }
}

void ImageArchive::assignLabels() {
    std::set<std::string> names;
    const auto className = [this](const std::string& name) {
        const auto parent = std::filesystem::path(name).parent_path().filename().string();
        if (parent.empty())
            throw ReadError(path_.string() + ": " + name + " lies in no class folder");
        return parent;
    };
    for (const auto& file : files_) names.insert(className(file.name));
    classNames_.assign(names.begin(), names.end());
    for (auto& file : files_) {
        const auto found =
            std::lower_bound(classNames_.begin(), classNames_.end(), className(file.name));
        file.label = static_cast<int>(found - classNames_.begin());
    }
}

RasterBlock ImageArchive::decode(size_t index) const {
    return decodeImage(bytes(index), path_.string() + ": " + files_[index].name);
}

std::string ImageArchive::fingerprint() const {
    uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
    const auto add = [&hash](const void* data, size_t size) {
        for (size_t i = 0; i < size; ++i)
            hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001b3ull;
    };
    for (size_t i = 0; i < files_.size(); ++i) {
        add(files_[i].name.data(), files_[i].name.size());
        add(contents_[i].data(), contents_[i].size());
    }
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
    return text;
}

RasterBlock decodeImage(const std::vector<uint8_t>& bytes, const std::string& what) try {
    const cv::Mat raw(1, static_cast<int>(bytes.size()), CV_8U, const_cast<uint8_t*>(bytes.data()));
    cv::Mat image = cv::imdecode(raw, cv::IMREAD_COLOR);
    if (image.empty()) throw ReadError(what + ": is no image that can be decoded");
    cv::cvtColor(image, image, cv::COLOR_BGR2RGB);
    RasterBlock block(image.cols, image.rows, 3, false);
    for (int y = 0; y < image.rows; ++y)
        std::copy_n(image.ptr<uint8_t>(y), static_cast<size_t>(image.cols) * 3,
                    block.u8.data() + static_cast<size_t>(y) * image.cols * 3);
    std::fill(block.valid.begin(), block.valid.end(), uint8_t{1});
    return block;
} catch (const cv::Exception& error) {
    throw ReadError(what + ": " + error.what());
}

}  // namespace atlas::io
