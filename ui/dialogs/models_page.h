// SPDX-License-Identifier: Apache-2.0
// The models at hand: a card of each, adding by button or drop, removing, trying out, and two of
// them compared on what the view shows.
#pragma once

#include <QComboBox>
#include <QDialog>
#include <QLabel>
#include <QListWidget>
#include <QMap>
#include <QPushButton>
#include <filesystem>
#include <optional>
#include <thread>
#include <vector>

#include "engine/pipeline/model_library.h"

namespace atlas::ui {

class ModelsPage : public QDialog {
    Q_OBJECT

  public:
    /// `library`: where the user's own models lie; others cannot be removed.
    ModelsPage(const std::vector<std::filesystem::path>& models, std::filesystem::path library,
               QWidget* parent = nullptr);

    QStringList models() const;
    /// Copies each into the library; what is wrong is said in note().
    void add(const QStringList& paths);
    void showCheck(const QString& model, const engine::ModelCheck& check);
    QString note() const { return note_->text(); }
    QString card() const { return card_->text(); }

  Q_SIGNALS:
    void modelsChanged();
    void useAsked(QString model);
    void validateAsked(QString model);
    void compareAsked(QString first, QString second);

  protected:
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;

  private:
    void put(const std::filesystem::path& dir);
    QString chosen() const;
    bool isOwn(const QString& model) const;
    void showCard();
    void removeChosen();
    void hash(const QString& model);

    std::filesystem::path library_;
    QListWidget* list_;
    QLabel *card_, *note_;
    QComboBox* other_;
    QPushButton *use_, *check_, *remove_, *compare_;
    QMap<QString, QString> hashes_;
    std::vector<std::jthread> hashers_;  ///< stopped when the page goes
};

}  // namespace atlas::ui
