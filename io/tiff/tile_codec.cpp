// SPDX-License-Identifier: Apache-2.0
#include "io/tiff/tile_codec.h"

#include <openjpeg.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <memory>
// After cstdio, which it needs.
#include <jpeglib.h>

namespace atlas::io {
namespace {

struct JumpOnError {
    jpeg_error_mgr base;
    std::jmp_buf back;
};

void jumpBack(j_common_ptr info) {
    std::longjmp(reinterpret_cast<JumpOnError*>(info->err)->back, 1);
}

void countWarning(j_common_ptr info, int level) {
    if (level < 0) ++info->err->num_warnings;
}

/// One decoder a thread: tables stay, and are only read again when another file's come.
class JpegDecoder {
  public:
    JpegDecoder() {
        info_.err = jpeg_std_error(&error_.base);
        error_.base.error_exit = jumpBack;
        error_.base.emit_message = countWarning;
        jpeg_create_decompress(&info_);
    }
    ~JpegDecoder() { jpeg_destroy_decompress(&info_); }
    JpegDecoder(const JpegDecoder&) = delete;
    JpegDecoder& operator=(const JpegDecoder&) = delete;

    // No object with a destructor lives between setjmp and longjmp.
    bool decode(const std::vector<uint8_t>& tables, const std::vector<uint8_t>& data, bool ycbcr,
                RgbaImage& tile) {
        if (setjmp(error_.back)) {
            jpeg_abort_decompress(&info_);
            return false;
        }
        error_.base.num_warnings = 0;
        if (!tables.empty()) {
            jpeg_mem_src(&info_, tables.data(), tables.size());
            if (jpeg_read_header(&info_, FALSE) != JPEG_HEADER_TABLES_ONLY) {
                jpeg_abort_decompress(&info_);
                return false;
            }
        }
        jpeg_mem_src(&info_, data.data(), data.size());
        if (jpeg_read_header(&info_, TRUE) != JPEG_HEADER_OK ||
            info_.image_width != static_cast<JDIMENSION>(tile.width) ||
            info_.image_height != static_cast<JDIMENSION>(tile.height) ||
            info_.num_components != 3) {
            jpeg_abort_decompress(&info_);
            return false;
        }
        info_.jpeg_color_space = ycbcr ? JCS_YCbCr : JCS_RGB;  // what the TIFF says, not a marker
        info_.out_color_space = JCS_EXT_RGBA;
        jpeg_start_decompress(&info_);
        while (info_.output_scanline < info_.output_height) {
            JSAMPROW rows[4];
            for (JDIMENSION i = 0; i < 4; ++i)
                rows[i] =
                    tile.rgba.data() + static_cast<size_t>(std::min(info_.output_scanline + i,
                                                                    info_.output_height - 1)) *
                                           static_cast<size_t>(tile.width) * 4;
            jpeg_read_scanlines(
                &info_, rows, std::min<JDIMENSION>(4, info_.output_height - info_.output_scanline));
        }
        jpeg_finish_decompress(&info_);
        return error_.base.num_warnings == 0;  // a truncated tile ends in grey: let others decide
    }

  private:
    jpeg_decompress_struct info_{};
    JumpOnError error_{};
};

struct MemoryStream {
    const std::vector<uint8_t>* data;
    size_t at = 0;
};

OPJ_SIZE_T readMemory(void* to, OPJ_SIZE_T count, void* user) {
    auto& stream = *static_cast<MemoryStream*>(user);
    const size_t left = stream.data->size() - stream.at;
    if (left == 0) return static_cast<OPJ_SIZE_T>(-1);
    count = std::min<OPJ_SIZE_T>(count, left);
    std::memcpy(to, stream.data->data() + stream.at, count);
    stream.at += count;
    return count;
}

OPJ_OFF_T skipMemory(OPJ_OFF_T count, void* user) {
    auto& stream = *static_cast<MemoryStream*>(user);
    if (count < 0) return -1;
    stream.at = std::min(stream.data->size(), stream.at + static_cast<size_t>(count));
    return count;
}

OPJ_BOOL seekMemory(OPJ_OFF_T to, void* user) {
    auto& stream = *static_cast<MemoryStream*>(user);
    if (to < 0 || static_cast<size_t>(to) > stream.data->size()) return OPJ_FALSE;
    stream.at = static_cast<size_t>(to);
    return OPJ_TRUE;
}

uint8_t byte(double v) {
    return static_cast<uint8_t>(std::clamp(v + 0.5, 0.0, 255.0));
}

/// Three components of 8 bits, possibly at half width or height, to RGBA.
bool unpack(const opj_image_t& image, bool ycbcr, RgbaImage& tile) {
    if (image.numcomps != 3) return false;
    for (OPJ_UINT32 c = 0; c < 3; ++c) {
        const auto& comp = image.comps[c];
        if (!comp.data || comp.prec != 8 || comp.sgnd || comp.dx == 0 || comp.dy == 0 ||
            comp.dx > 4 || comp.dy > 4 ||
            static_cast<uint64_t>(comp.w) * comp.dx < static_cast<uint64_t>(tile.width) ||
            static_cast<uint64_t>(comp.h) * comp.dy < static_cast<uint64_t>(tile.height))
            return false;
    }
    for (int y = 0; y < tile.height; ++y)
        for (int x = 0; x < tile.width; ++x) {
            int v[3];
            for (OPJ_UINT32 c = 0; c < 3; ++c) {
                const auto& comp = image.comps[c];
                v[c] = comp.data[(static_cast<uint32_t>(y) / comp.dy) * comp.w +
                                 static_cast<uint32_t>(x) / comp.dx];
            }
            uint8_t* out = tile.pixel(x, y);
            if (ycbcr) {  // ITU-R BT.601, full range
                const double cb = v[1] - 128, cr = v[2] - 128;
                out[0] = byte(v[0] + 1.402 * cr);
                out[1] = byte(v[0] - 0.344136 * cb - 0.714136 * cr);
                out[2] = byte(v[0] + 1.772 * cb);
            } else {
                for (int c = 0; c < 3; ++c) out[c] = static_cast<uint8_t>(std::clamp(v[c], 0, 255));
            }
            out[3] = 255;
        }
    return true;
}

bool decodeJpeg2000(const std::vector<uint8_t>& data, bool ycbcr, RgbaImage& tile) {
    MemoryStream memory{&data};
    const std::unique_ptr<opj_stream_t, void (*)(opj_stream_t*)> stream(
        static_cast<opj_stream_t*>(opj_stream_create(data.size(), OPJ_TRUE)),
        [](opj_stream_t* s) { opj_stream_destroy(s); });
    const std::unique_ptr<opj_codec_t, void (*)(opj_codec_t*)> codec(
        static_cast<opj_codec_t*>(opj_create_decompress(OPJ_CODEC_J2K)),
        [](opj_codec_t* c) { opj_destroy_codec(c); });
    if (!stream || !codec) return false;
    opj_stream_set_user_data(stream.get(), &memory, nullptr);
    opj_stream_set_user_data_length(stream.get(), data.size());
    opj_stream_set_read_function(stream.get(), readMemory);
    opj_stream_set_skip_function(stream.get(), skipMemory);
    opj_stream_set_seek_function(stream.get(), seekMemory);
    opj_dparameters_t parameters;
    opj_set_default_decoder_parameters(&parameters);
    opj_image_t* raw = nullptr;
    if (!opj_setup_decoder(codec.get(), &parameters)) return false;
    const bool header = opj_read_header(stream.get(), codec.get(), &raw);
    const std::unique_ptr<opj_image_t, void (*)(opj_image_t*)> image(raw, opj_image_destroy);
    if (!header || image->x1 - image->x0 < static_cast<OPJ_UINT32>(tile.width) ||
        image->y1 - image->y0 < static_cast<OPJ_UINT32>(tile.height) || image->x1 > 16384 ||
        image->y1 > 16384)
        return false;
    return opj_decode(codec.get(), stream.get(), image.get()) && unpack(*image, ycbcr, tile);
}

}  // namespace

bool TileCodec::decode(const std::vector<uint8_t>& compressed, RgbaImage& tile) const {
    if (kind == Kind::Jpeg2000Rgb || kind == Kind::Jpeg2000Ycbcr)
        return decodeJpeg2000(compressed, kind == Kind::Jpeg2000Ycbcr, tile);
    thread_local JpegDecoder decoder;
    return decoder.decode(tables, compressed, kind == Kind::JpegYcbcr, tile);
}

}  // namespace atlas::io
