// SPDX-License-Identifier: Apache-2.0
// Every corrupt file, for `info` and for a read of everything, in a process of its own: an error
// or the readable part, within 10 s and 1 GiB, and no crash. Four seconds of the limit are for a
// busy machine: the program itself gives up after 6.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "tests/support/temporary_folder.h"
#include "tests/support/test_data.h"

namespace atlas {
namespace {

namespace fs = std::filesystem;

struct Result {
    int signal = 0, code = -1;
    double seconds = 0, peakMiB = 0;
    std::string errors;
};

Result runInfo(const fs::path& file, bool readAll, const fs::path& log) {
    const auto start = std::chrono::steady_clock::now();
    const std::string program = std::string(ATLASSCOPE_BINARY_DIR) + "/atlasscope";
    const pid_t child = fork();
    if (child == 0) {
        const int out = open("/dev/null", O_WRONLY),
                  err = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, 1);
        dup2(err, 2);
        alarm(30);  // a hang shows as SIGALRM
        execl(program.c_str(), program.c_str(), "info", file.c_str(),
              readAll ? "--read-all" : nullptr, nullptr);
        _exit(127);
    }
    int status = 0;
    rusage usage{};
    wait4(child, &status, 0, &usage);
    Result result;
    result.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    result.peakMiB = static_cast<double>(usage.ru_maxrss) / 1024;
    if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
    if (WIFEXITED(status)) result.code = WEXITSTATUS(status);
    std::ifstream text(log);
    result.errors.assign(std::istreambuf_iterator<char>(text), {});
    return result;
}

TEST(CorruptFiles, GiveAnErrorOrTheReadablePart) {
    const fs::path folder = test::dataRoot() / "data" / "corrupt";
    ATLAS_REQUIRE_DATA(folder);
    const test::TemporaryFolder temporary;
    int files = 0, refused = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        if (!entry.is_regular_file()) continue;
        ++files;
        for (bool readAll : {false, true}) {
            const Result r = runInfo(entry.path(), readAll, temporary.path() / "log");
            EXPECT_EQ(r.signal, 0) << entry.path();
            EXPECT_LT(r.seconds, 10) << entry.path();
            EXPECT_LT(r.peakMiB, 1024) << entry.path();
            EXPECT_TRUE(r.code == 0 || r.code == 1) << entry.path() << " exit code " << r.code;
            const bool named = r.errors.find(entry.path().filename().string()) != std::string::npos;
            EXPECT_TRUE(r.code == 0 || named) << r.errors;
            refused += readAll && r.code == 1;
        }
    }
    EXPECT_GT(files, 150);
    EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace atlas
