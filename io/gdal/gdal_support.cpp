// SPDX-License-Identifier: Apache-2.0
#include "io/gdal/gdal_support.h"

#include <cpl_conv.h>
#include <cpl_error.h>

#include <mutex>

namespace atlas::io {

void initialiseGdal() {
    static std::once_flag once;
    std::call_once(once, [] {
        GDALAllRegister();
        GDALSetCacheMax64(int64_t{96} << 20);
        CPLSetConfigOption("GDAL_DISABLE_READDIR_ON_OPEN", "FALSE");
        CPLSetConfigOption("GDAL_NUM_THREADS", "1");
        CPLSetConfigOption("OPJ_NUM_THREADS", "1");
        CPLSetConfigOption("GDAL_HTTP_TIMEOUT", "20");
        CPLSetConfigOption("GDAL_HTTP_CONNECTTIMEOUT", "10");
        CPLSetConfigOption("GDAL_HTTP_MAX_RETRY", "1");
        CPLSetConfigOption("GDAL_HTTP_RETRY_DELAY", "0.5");
    });
}

GdalMessages::GdalMessages() {
    CPLPushErrorHandlerEx(&GdalMessages::collect, this);
}
GdalMessages::~GdalMessages() {
    CPLPopErrorHandler();
}

void CPL_STDCALL GdalMessages::collect(CPLErr kind, CPLErrorNum, const char* text) {
    auto* self = static_cast<GdalMessages*>(CPLGetErrorHandlerUserData());
    if (kind >= CE_Failure && self->first_.empty()) self->first_ = text;
}

}  // namespace atlas::io
