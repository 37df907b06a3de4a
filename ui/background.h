// SPDX-License-Identifier: Apache-2.0
// Work in threads of its own, and what follows from it in the GUI thread. Used from the GUI thread.
#pragma once

#include <QObject>
#include <functional>
#include <map>
#include <thread>

namespace atlas::ui {

class Background : public QObject {
    Q_OBJECT

  public:
    /// What is done in the GUI thread when the work is over.
    using Then = std::function<void()>;
    /// Runs in a thread; may throw. It holds by value what it needs.
    using Work = std::function<Then(const std::stop_token&)>;
    using Failed = std::function<void(const QString& error)>;
    /// Called in the thread with the name of the work: before it ("load") and, when it is done but
    /// its answer is not on its way yet, after it ("load.done"). For tests.
    using Watch = std::function<void(const QString& name)>;

    explicit Background(QObject* parent = nullptr);
    ~Background() override;

    /// Returns a number above 0. `words` tell a person what goes on meanwhile; may be empty.
    /// Exceptions of `work` reach `failed`, and those of what follows reach `problem`.
    int start(const char* name, const QString& words, Work work, Failed failed);
    /// Asks the work to stop, waits for nothing, and drops its answer: nothing follows from it, and
    /// `failed` is not called. A number that is not there (any more) is no error.
    void forget(int number);
    void forgetAll();
    /// Forgets everything and waits until the threads have ended.
    void end();

    /// Whether an answer is still wanted: of this work, or of any.
    bool wanted(int number) const;
    bool busy() const;
    /// What goes on, as the newest work that is wanted says it; empty: nothing does.
    QString words() const;
    /// Threads that are held, those of forgotten work that has not ended among them.
    size_t threads() const { return tasks_.size(); }
    void setWatch(Watch watch) { watch_ = std::move(watch); }

  Q_SIGNALS:
    void changed();
    void problem(QString error);

  private:
    struct Task {
        QString words;
        Failed failed;
        bool wanted = true;
        std::jthread thread;
    };
    void finish(int number, const Then& then, bool good, const QString& error);

    std::map<int, Task> tasks_;
    int last_ = 0;
    Watch watch_;
};

}  // namespace atlas::ui
