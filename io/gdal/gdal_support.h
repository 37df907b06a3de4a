// SPDX-License-Identifier: Apache-2.0
// GDAL set up once, and its messages collected instead of printed.
#pragma once

#include <gdal.h>

#include <memory>
#include <string>

namespace atlas::io {

/// Registers the drivers and bounds GDAL's own block cache; cheap when called again.
void initialiseGdal();

/// While alive, collects this thread's GDAL errors.
class GdalMessages {
  public:
    GdalMessages();
    ~GdalMessages();
    GdalMessages(const GdalMessages&) = delete;
    GdalMessages& operator=(const GdalMessages&) = delete;

    /// The first error of a kind that stops reading, or `fallback`.
    std::string cause(const std::string& fallback) const {
        return first_.empty() ? fallback : first_;
    }
    bool failed() const { return !first_.empty(); }

  private:
    static void CPL_STDCALL collect(CPLErr kind, CPLErrorNum number, const char* text);
    std::string first_;
};

struct DatasetCloser {
    void operator()(void* dataset) const {
        if (dataset) GDALClose(dataset);
    }
};
using Dataset = std::unique_ptr<void, DatasetCloser>;

}  // namespace atlas::io
