// SPDX-License-Identifier: Apache-2.0
// Another locale for the life of an object: C's, and that of C++'s streams.
#pragma once

#include <gtest/gtest.h>

#include <clocale>
#include <cstdlib>
#include <locale>
#include <string>

namespace atlas::test {

constexpr const char *kCommaLocale = "de_DE.UTF-8", *kTurkishLocale = "tr_TR.UTF-8";

/// Fails the test where the locale is missing, as nothing would be proved then.
class OtherLocale {
  public:
    explicit OtherLocale(const char* name)
        : c_(std::setlocale(LC_ALL, nullptr)), streams_(std::locale()) {
        if (std::setlocale(LC_ALL, name))
            std::locale::global(std::locale(name));
        else
            ADD_FAILURE() << "there is no locale " << name << "; installer/setup.sh deps makes it";
    }
    ~OtherLocale() {
        std::locale::global(streams_);
        std::setlocale(LC_ALL, c_.c_str());
    }
    OtherLocale(const OtherLocale&) = delete;
    OtherLocale& operator=(const OtherLocale&) = delete;

  private:
    std::string c_;
    std::locale streams_;
};

/// A locale with a decimal comma.
class CommaLocale : public OtherLocale {
  public:
    CommaLocale() : OtherLocale(kCommaLocale) {
        EXPECT_STREQ(std::localeconv()->decimal_point, ",");
        EXPECT_EQ(std::strtod("0.5", nullptr), 0) << "the locale does not reach strtod";
    }
};

}  // namespace atlas::test
