// SPDX-License-Identifier: Apache-2.0
#include "engine/pipeline/process_identity.h"

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#if __has_include(<unistd.h>)
#include <unistd.h>
#define ATLASSCOPE_POSIX
#endif

namespace atlas::engine {
namespace {

/// The 22nd field of /proc/PID/stat (proc(5)); 0 where the system does not say.
int64_t startOf(int64_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const size_t afterName = text.rfind(')');
    if (afterName == std::string::npos) return 0;
    std::istringstream fields(text.substr(afterName + 1));
    std::string field;
    for (int i = 3; i <= 22 && fields >> field; ++i)
        if (i == 22) return std::strtoll(field.c_str(), nullptr, 10);
    return 0;
}

std::string spaceOfThis() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string boot;
    std::getline(file, boot);
    std::error_code error;
    const auto space = std::filesystem::read_symlink("/proc/self/ns/pid", error);
    return boot.empty() || error ? std::string() : boot + " " + space.string();
}

}  // namespace

#ifdef ATLASSCOPE_POSIX

ProcessIdentity thisProcess() {
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) != 0) name[0] = '\0';
    const auto pid = static_cast<int64_t>(getpid());
    return {name, spaceOfThis(), pid, startOf(pid)};
}

bool isSurelyGone(const ProcessIdentity& other) {
    if (other.space.empty() || other.space != spaceOfThis() || other.pid <= 0) return false;
    if (kill(static_cast<pid_t>(other.pid), 0) != 0) return errno == ESRCH;
    const int64_t started = startOf(other.pid);
    return started != 0 && other.started != 0 && started != other.started;
}

#else  // only a heart that stands still tells of a dead process

ProcessIdentity thisProcess() {
    return {};
}

bool isSurelyGone(const ProcessIdentity&) {
    return false;
}

#endif

}  // namespace atlas::engine
