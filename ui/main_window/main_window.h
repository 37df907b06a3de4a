// SPDX-License-Identifier: Apache-2.0
// The window: actions, docks, and the wiring between canvas, panels and runs. GUI thread.
#pragma once

#include <QDockWidget>
#include <QJsonArray>
#include <QJsonObject>
#include <QLabel>
#include <QMainWindow>
#include <QStackedWidget>
#include <QTimer>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "engine/pipeline/foreground.h"
#include "io/reader_registry.h"
#include "ui/annotations/annotation_store.h"
#include "ui/background.h"
#include "ui/dialogs/doctor_page.h"
#include "ui/dialogs/settings_page.h"
#include "ui/panels/annotations_panel.h"
#include "ui/panels/contexts_panel.h"
#include "ui/panels/explorer_panel.h"
#include "ui/panels/images_panel.h"
#include "ui/panels/layers_panel.h"
#include "ui/panels/run_panel.h"
#include "ui/project/project.h"
#include "ui/project/session.h"
#include "ui/result_layers.h"
#include "ui/run_controller.h"
#include "ui/viewer/canvas.h"
#include "ui/views/views_controller.h"

namespace atlas::ui {

/// What app hands down: nothing here is searched for by the window itself.
struct WindowOptions {
    std::vector<std::filesystem::path> models;
    std::filesystem::path userData;    ///< results of images whose folder cannot be written
    std::filesystem::path userModels;  ///< where models of the user are put
    QString sampleImage;
    engine::RunRequest defaults;  ///< device, precision, threads and memory of runs
    size_t cacheBytes = size_t{512} << 20;
    DoctorLines facts, selfTest;  ///< of the Doctor page
    QString guide;                ///< Markdown file of the user's guide
    Background::Watch watch;      ///< sees all work outside the GUI thread; for tests
};

class MainWindow : public QMainWindow {
    Q_OBJECT

  public:
    explicit MainWindow(const WindowOptions& options);
    ~MainWindow() override;

    /// Opens in the background; imageOpened or a message follows.
    void openImage(const QString& path);
    void openFolder(const QString& folder);
    /// What a band tagged as alpha is taken for, from now on; opens the image again.
    void setAlpha(io::AlphaChoice choice);
    void startRun();
    void queueImages(const QStringList& images);
    void setTheme(const QString& name);
    /// What the token of the chosen scale, block and head under a point attends to; `second` is
    /// shown beside the first.
    void probe(const QPointF& imagePoint, bool second = false);
    /// The context under the probe (or in the middle of the view), answered again.
    void whatIf(engine::WhatIf change);
    void contributions();
    void saliency(engine::Saliency kind);
    /// The page of models; `added` are put into the user's own.
    void openModels(const QStringList& added = {});
    /// Both over the drawn rectangle or what the view shows; then their difference.
    void compareModels(const std::filesystem::path& first, const std::filesystem::path& second);
    void flow();
    void showFlow(int depth);
    void faithfulness(const engine::FaithfulnessOptions& options = {});
    /// Shows what the mask would leave out, as a layer.
    void previewMask();
    /// Other bands or stretch; the view stays.
    void setDisplay(io::DisplaySettings settings, bool ofView = false);
    void setScale(int scale);
    /// "x, y" in pixels, or map coordinates where the image has them. False, with a message, where
    /// it is neither.
    bool goToText(const QString& text);
    void copyView();
    /// PNG, or SVG with the decorations as lines and text. False, with a message, on failure.
    bool saveView(const QString& path);
    void newProject(const QString& folder);
    void openProject(const QString& path);
    const std::optional<Project>& project() const { return project_; }
    /// What was open when a window ended without notice; a message says so. False: nothing was.
    bool restoreCrashed();
    bool restoreLast();
    void applySettings(const ViewerSettings& settings);
    ViewsController* views() const { return views_; }
    /// Label, macro and thumbnail of a slide.
    void showAssociated();
    /// The run that is shown against another one over this image: a layer and a table.
    void compareWith(const std::filesystem::path& folder);
    AnnotationStore* annotations() const { return annotations_; }
    /// GeoJSON in pixels; GeoPackage or Shapefile for images with map coordinates.
    void importAnnotations(const QString& path);
    void exportAnnotations(const QString& path);
    /// The drawn rectangle becomes an annotation.
    void keepRegion();
    /// Length and area with units; empty for points.
    QString measureText(const Annotation& annotation) const;
    bool setLayer(const QString& id, const QJsonObject& changes);

    Canvas* canvas() const { return canvas_; }
    RunPanel* runPanel() const { return runPanel_; }
    RunController* runs() const { return runs_; }
    QAction* actionNamed(const QString& objectName) const;

    /// Nothing is loading, running or waiting to be drawn.
    bool settled() const;
    /// An image, a run, a comparison or the like is being read.
    bool loading() const { return work_.busy(); }
    bool probing() const { return runs_->asking(); }
    QString message() const { return messageText_->text(); }
    void showMessage(const QString& text);
    void clearMessage();

    /// What the window shows, by name: for steps files and tests.
    QJsonObject values() const;

  Q_SIGNALS:
    void imageOpened(QString path);

  protected:
    void closeEvent(QCloseEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;

  private:
    void buildCentre();
    void buildDocks();
    void buildActions();
    QWidget* welcomePage();
    QAction* addNamedAction(QWidget* where, const char* name, const QString& text,
                            const QKeySequence& key, std::function<void()> run);
    void openDropped(const QStringList& paths);
    void addMaskLayer(const engine::ForegroundMap& map);
    void showDisplay();
    void openDisplayed(const QString& path, const std::shared_ptr<const io::ColorSource>& image);
    void showDisplayed(const std::shared_ptr<const io::ColorSource>& image);
    void showResolution();
    void restoreRuns(const QJsonArray& visible);
    bool mayRun(const engine::RunRequest& request);
    std::filesystem::path outFor(const QString& image) const;
    std::filesystem::path besideOf(const QString& image) const;
    std::vector<std::filesystem::path> outsOf(const QString& image) const;
    engine::RunRequest requestFor(const QString& image) const;
    void onJobChanged(int number);
    void onJobFinished(int number);
    void showJob();
    void tellEnd(const Job& job);
    void writeFolderSummary();
    /// In the Run panel: what the chosen model is given of this image.
    void showModelInput();
    void followJob(const Job& job);
    void refreshLive();
    /// The window shows one image and one run over it. What was asked of others is forgotten, and
    /// an answer counts only while `subject()` is what it was when it was asked.
    struct Subject {
        int image = 0, run = 0;
        bool operator==(const Subject&) const = default;
    };
    Subject subject() const { return subject_; }
    void leaveRun();
    void dropRun();
    struct RunsRead;
    /// Reads a run (the newest of the image where `folder` is empty) and what the menus offer;
    /// `then` is called when it is shown, or has turned out not to be there.
    void showRun(const std::filesystem::path& folder, const std::function<void()>& then = {});
    void applyRun(const RunsRead& read);
    void fillRuns(const RunsRead& read);
    void putLayers(const std::vector<OverlayLayer>& made);
    void applyLayers();
    void showTiles();
    void filterPrediction();
    void goToContext(const QRectF& box);
    std::function<std::vector<OverlayLayer>()> layersOver(const QString& image) const;
    void moveLayer(const QString& id, int by);
    OverlayLayer* layer(const QString& id);
    void toggleLayer(const QString& id);
    /// A layer of several bands says which one it shows.
    void retitle(OverlayLayer& layer) const;
    void stepScale(int by);
    void changeOpacity(double by);
    void onHover(const QPointF& point, bool inside);
    /// Asks the network of the run that is shown. What `work` returns is done while both are still
    /// shown.
    using AskImage =
        std::function<std::function<void()>(const io::ColorSource&, const engine::Classifier&,
                                            const engine::RunRequest&, const std::stop_token&)>;
    void askAbout(const QString& words, AskImage work);
    void showProbe(const engine::ProbeResult& result, bool second);
    void showSaliency(const engine::SaliencyResult& result);
    void showContributions(const engine::ContributionResult& result);
    bool chooseRegion(engine::WhatIf& change);
    void showFaithfulness(const engine::FaithfulnessResult& result);
    void connectExplorer();
    void connectAnnotations();
    QString fileKinds() const;
    const io::GeoReference& georeference() const;
    QString sidecar(const std::filesystem::path& folder, const QString& image,
                    const char* ending) const;
    void validateModel(const QString& model, class ModelsPage* page);
    void showModelsCompared(int finished);
    void openSidecars();
    void bringSidecars(const QStringList& images);
    void setExplorerModel(const std::filesystem::path& modelDir);
    static QString inspectorHint();
    void forgetProbe();
    void followZoom();
    QPointF explorePoint() const;
    bool canAsk();
    void updateStatus();
    void rememberRecent(const QString& path);
    void fillRecent();
    void about();
    void buildProjectActions(QMenu* file);
    QJsonObject sessionState() const;
    bool restore(const QJsonObject& session);
    void keepSession();
    void showProject();
    void addToProject(const QStringList& images);
    void openSettings();
    void openUrl();
    std::vector<QAction*> namedActions() const;
    void openPalette();
    void openShortcuts();
    void openDoctor();
    void openGuide();

    WindowOptions options_;
    std::shared_ptr<io::TileCache> cache_;
    std::shared_ptr<const io::ColorSource> image_;
    QString path_;
    io::OpenOptions openOptions_;
    RunController* runs_;
    Canvas* canvas_;
    QStackedWidget* centre_;
    QFrame* messageBar_;
    QLabel* messageText_;
    ImagesPanel* imagesPanel_;
    LayersPanel* layersPanel_;
    ViewsController* views_;
    std::optional<Project> project_;
    QList<QDockWidget*> hiddenDocks_;  ///< by Tab
    std::vector<int> modelsCompared_;  ///< the two jobs, the shown one last
    bool regionIsNewest_ = false;      ///< than the selected annotation
    std::unique_ptr<Session> session_;
    /// To be shown when the image of a session is open.
    QJsonObject pendingView_;
    QJsonArray pendingLayers_;
    ViewerSettings settings_;
    RunPanel* runPanel_;
    AnnotationStore* annotations_;
    AnnotationsPanel* annotationsPanel_;
    ExplorerPanel* explorer_;
    ContextsPanel* contextsPanel_;
    std::shared_ptr<const io::GridRaster> allClasses_;  ///< the prediction without a filter
    QLabel* inspector_;
    QLabel *positionText_, *busyText_, *scaleText_, *deviceText_, *cacheText_;
    QMenu *recentMenu_, *runsMenu_, *compareMenu_;
    std::filesystem::path shownRun_;
    QTimer liveTimer_, statusTimer_;
    std::vector<OverlayLayer> layers_;
    ModelLook look_;
    engine::RunRequest shownRequest_;  ///< of the run whose layers are shown
    bool hasShownRequest_ = false;
    bool imageVisible_ = true;
    int scale_ = 0;
    QPointF hover_;
    bool hoverInside_ = false;
    std::optional<QPointF> probed_;
    std::vector<QRectF> probeBoxes_;
    size_t firstBoxes_ = 0;  ///< of the first probe
    QStringList probeLines_;
    engine::FlowResult flow_;
    QString explorerModel_;
    Subject subject_;
    int question_ = 0;  ///< the last one about the image that is shown
    int openTask_ = 0, displayTask_ = 0, maskTask_ = 0, loadTask_ = 0, compareTask_ = 0;
    std::vector<int> folderJobs_;
    int liveJob_ = -1;    ///< the job whose layers are shown while it goes on
    int followed_ = -1;   ///< the last job that came to be shown over the image by itself
    std::set<int> told_;  ///< jobs whose end was shown over their image
    std::shared_ptr<const engine::LoadedRun> loaded_;      ///< the run that is shown
    std::shared_ptr<const engine::RunLayers> liveLayers_;  ///< what was shown of a run going on
    QJsonObject pointer_, probeValues_, explorerValues_;
    QString lastJobState_;
    Background work_, live_, inputs_;  ///< last: they end first
};

}  // namespace atlas::ui
