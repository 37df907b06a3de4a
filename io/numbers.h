// SPDX-License-Identifier: Apache-2.0
// Numbers as text, the same on every machine. Files, options, tags and messages are written and
// read with a decimal point whatever the C or C++ locale is: strtod, printf, std::to_string and
// streams follow a locale that the window, or a plug-in of it, may set at any time. What a person
// types is read with point or comma.
#pragma once

#include <algorithm>
#include <charconv>
#include <clocale>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#ifdef __APPLE__
#include <xlocale.h>
#endif

namespace atlas::io {

/// Takes a number with a decimal point from the front of `rest`, past blanks; `rest` is then what
/// follows it. Nothing, and `rest` unchanged, where there is no number or it does not fit a double.
inline std::optional<double> takeNumber(std::string_view& rest) {
    std::string_view text = rest;
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc()) return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    rest = text;
    return value;
}

/// The same of what a person typed: the decimals follow a point or a comma ("0.3m" and "0,3m"). A
/// number has no separators of thousands, so that "1.234,5" is 1.234 and a rest.
inline std::optional<double> takeTypedNumber(std::string_view& rest) {
    std::string pointed(rest);
    const size_t first = pointed.find_first_not_of(" \t\r\n+-0123456789");
    if (first != std::string::npos && pointed[first] == ',') pointed[first] = '.';
    std::string_view text = pointed;
    const auto value = takeNumber(text);
    if (!value || !std::isfinite(*value)) return std::nullopt;
    rest.remove_prefix(rest.size() - text.size());
    return value;
}

/// Whether nothing but blanks is left of a text.
inline bool isBlank(std::string_view text) {
    return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

/// A whole text, with blanks around it, as files hold it; nothing where it is anything else.
inline std::optional<double> parseNumber(std::string_view text) {
    const auto value = takeNumber(text);
    return value && isBlank(text) ? value : std::nullopt;
}

/// A whole text as a person types it: finite, with a decimal point or a decimal comma.
inline std::optional<double> parseTypedNumber(std::string_view text) {
    const auto value = takeTypedNumber(text);
    return value && isBlank(text) ? value : std::nullopt;
}

/// The shortest text that reads back as the same number: "0.3", "1e+300".
inline std::string formatNumber(double value) {
    char text[32];
    const auto end = std::to_chars(text, text + sizeof text, value).ptr;
    return {text, end};
}

/// At most `digits` (1 to 40) digits that count, as printf's %g in the C locale.
inline std::string formatSignificant(double value, int digits) {
    char text[64];
    const auto end =
        std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits).ptr;
    return {text, end};
}

/// With `decimals` (0 to 40) digits behind the point, as printf's %f in the C locale.
inline std::string formatFixed(double value, int decimals) {
    char text[384];  // a double has at most 309 digits before the point
    const auto end =
        std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, decimals).ptr;
    return {text, end};
}

/// formatText with the arguments in a list.
inline std::string formatTextList(const char* format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
#ifdef _WIN32
    static const _locale_t classic = _create_locale(LC_ALL, "C");
    std::string text(static_cast<size_t>(std::max(0, _vscprintf_l(format, classic, arguments))), 0);
    _vsnprintf_l(text.data(), text.size() + 1, format, classic, again);
#else
    static const locale_t classic = newlocale(LC_ALL_MASK, "C", nullptr);
    const locale_t before = uselocale(classic);  // of this thread alone
    const int length = std::vsnprintf(nullptr, 0, format, arguments);
    std::string text(static_cast<size_t>(std::max(0, length)), 0);
    std::vsnprintf(text.data(), text.size() + 1, format, again);
    uselocale(before);
#endif
    va_end(again);
    return text;
}

#if defined(__GNUC__)
#define ATLAS_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define ATLAS_PRINTF(text, first)
#endif

/// What printf writes in the C locale, whatever the locale of the program is.
ATLAS_PRINTF(1, 2)
inline std::string formatText(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::string text = formatTextList(format, arguments);
    va_end(arguments);
    return text;
}

/// The same to a stream such as stdout.
ATLAS_PRINTF(2, 3)
inline void printText(std::FILE* file, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::fputs(formatTextList(format, arguments).c_str(), file);
    va_end(arguments);
}

#undef ATLAS_PRINTF

}  // namespace atlas::io
