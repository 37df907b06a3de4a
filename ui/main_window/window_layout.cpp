// SPDX-License-Identifier: Apache-2.0
// MainWindow: what stands where, and which keys do what.
#include <QAction>
#include <QActionGroup>
#include <QApplication>
#include <QClipboard>
#include <QDialog>
#include <QDockWidget>
#include <QDropEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QFrame>
#include <QHBoxLayout>
#include <QInputDialog>
#include <QKeyEvent>
#include <QMenuBar>
#include <QMessageBox>
#include <QMimeData>
#include <QPainter>
#include <QPushButton>
#include <QRegularExpression>
#include <QScrollArea>
#include <QSettings>
#include <QStatusBar>
#include <QSvgGenerator>
#include <QTabWidget>
#include <QTextBlock>
#include <QTextBrowser>
#include <QToolBar>
#include <QVBoxLayout>

#include "io/numbers.h"
#include "ui/dialogs/command_palette.h"
#include "ui/dialogs/shortcuts_page.h"
#include "ui/main_window/main_window.h"
#include "ui/panels/controls.h"
#include "ui/theme.h"

namespace atlas::ui {
namespace {
constexpr int kRecentFiles = 8;
constexpr double kPanStep = 80;  // view pixels an arrow key

/// Pictures no wider than the page.
void fitPictures(QTextDocument& document) {
    for (QTextBlock block = document.begin(); block.isValid(); block = block.next())
        for (auto it = block.begin(); !it.atEnd(); ++it) {
            if (!it.fragment().charFormat().isImageFormat()) continue;
            QTextImageFormat format = it.fragment().charFormat().toImageFormat();
            format.setWidth(780);
            QTextCursor cursor(&document);
            cursor.setPosition(it.fragment().position());
            cursor.setPosition(it.fragment().position() + it.fragment().length(),
                               QTextCursor::KeepAnchor);
            cursor.setCharFormat(format);
            break;
        }
}

/// A panel that may be taller than its dock.
QScrollArea* scrolling(QWidget* panel) {
    auto* scroll = new QScrollArea;
    scroll->setWidget(panel);
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->setMinimumWidth(270);
    scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    return scroll;
}
}  // namespace

void MainWindow::buildCentre() {
    auto* holder = new QWidget;
    auto* layout = new QVBoxLayout(holder);
    layout->setContentsMargins(0, 0, 0, 0);
    layout->setSpacing(0);
    messageBar_ = new QFrame;
    messageBar_->setObjectName("window.message");
    messageBar_->setProperty("message", true);
    auto* row = new QHBoxLayout(messageBar_);
    row->setContentsMargins(12, 6, 6, 6);
    messageText_ = new QLabel;
    messageText_->setObjectName("window.messageText");
    messageText_->setWordWrap(true);
    messageText_->setTextInteractionFlags(Qt::TextSelectableByMouse);
    auto* close = new QPushButton(tr("Close"));
    close->setObjectName("window.messageClose");
    close->setToolTip(tr("Close this message (Esc)"));
    connect(close, &QPushButton::clicked, this, &MainWindow::clearMessage);
    row->addWidget(messageText_, 1);
    row->addWidget(close);
    messageBar_->setVisible(false);
    centre_ = new QStackedWidget;
    canvas_ = new Canvas;
    views_ = new ViewsController(canvas_,
                                 {cache_, [this](const QString& text) { showMessage(text); },
                                  [this](const QString& path) { return layersOver(path); },
                                  [this](QWidget* where, const char* name, const QString& text,
                                         const QKeySequence& key, std::function<void()> run) {
                                      return addNamedAction(where, name, text, key, std::move(run));
                                  }},
                                 this);
    centre_->addWidget(welcomePage());
    centre_->addWidget(views_->grid());
    layout->addWidget(messageBar_);
    layout->addWidget(centre_, 1);
    setCentralWidget(holder);
    const auto statusLabel = [this](const char* name, const QString& tip) {
        auto* label = new QLabel;
        label->setObjectName(name);
        label->setToolTip(tip);
        label->setContentsMargins(8, 0, 8, 0);
        return label;
    };
    positionText_ = statusLabel("status.position", tr("Position under the pointer"));
    busyText_ = statusLabel("status.busy", tr("What is read or measured at the moment"));
    scaleText_ = statusLabel("status.scale", tr("Screen pixels an image pixel"));
    deviceText_ = statusLabel("status.device", tr("Where the network runs, and why"));
    cacheText_ = statusLabel("status.cache", tr("Decoded tiles held in memory"));
    statusBar()->addWidget(positionText_, 1);
    statusBar()->addPermanentWidget(busyText_);
    statusBar()->addPermanentWidget(scaleText_);
    statusBar()->addPermanentWidget(deviceText_);
    statusBar()->addPermanentWidget(cacheText_);
    cacheText_->setText(tr("cache 0 MiB"));
}

QWidget* MainWindow::welcomePage() {
    auto* page = new QWidget;
    page->setObjectName("welcome.page");
    auto* outer = new QVBoxLayout(page);
    outer->addStretch();
    auto* title = new QLabel("<h1>AtlasScope</h1>");
    title->setAlignment(Qt::AlignCenter);
    auto* text = new QLabel(
        tr("<p><b>Open</b> a whole-slide or satellite image and move through it at any scale.</p>"
           "<p><b>Classify</b> it, or a whole folder, with a multi-scale attention network.</p>"
           "<p><b>See</b> at which scale, and where, the network looked.</p>"
           "<p>Drop an image or a folder anywhere in this window.</p>"));
    text->setAlignment(Qt::AlignCenter);
    auto* buttons = new QHBoxLayout;
    auto* open = new QPushButton(tr("Open image …"));
    open->setObjectName("welcome.open");
    open->setToolTip(tr("Open an image (Ctrl+O)"));
    open->setProperty("primary", true);
    auto* sample = new QPushButton(tr("Try the sample"));
    sample->setObjectName("welcome.sample");
    sample->setToolTip(tr("A synthetic landscape of 16384 x 16384 pixels with known truth"));
    connect(open, &QPushButton::clicked, this, [this] { actionNamed("file.open")->trigger(); });
    connect(sample, &QPushButton::clicked, this, [this] { openImage(options_.sampleImage); });
    buttons->addStretch();
    buttons->addWidget(open);
    buttons->addWidget(sample);
    buttons->addStretch();
    auto* note = new QLabel(tr("For research use only, not for diagnosis."));
    note->setAlignment(Qt::AlignCenter);
    note->setProperty("faint", true);
    for (QWidget* w : {static_cast<QWidget*>(title), static_cast<QWidget*>(text)})
        outer->addWidget(w);
    outer->addLayout(buttons);
    outer->addSpacing(16);
    outer->addWidget(note);
    outer->addStretch();
    return page;
}

void MainWindow::buildDocks() {
    setCorner(Qt::BottomLeftCorner, Qt::LeftDockWidgetArea);
    setCorner(Qt::BottomRightCorner, Qt::RightDockWidgetArea);
    const auto dock = [this](const char* name, const QString& title, QWidget* content,
                             Qt::DockWidgetArea area) {
        auto* d = new QDockWidget(title);
        d->setObjectName(name);
        d->setWidget(content);
        addDockWidget(area, d);
        return d;
    };
    imagesPanel_ = new ImagesPanel;
    layersPanel_ = new LayersPanel;
    runPanel_ = new RunPanel;
    inspector_ = new QLabel(inspectorHint());
    inspector_->setObjectName("inspector.text");
    inspector_->setWordWrap(true);
    inspector_->setMargin(10);
    inspector_->setAlignment(Qt::AlignTop);
    inspector_->setMinimumHeight(92);
    auto* images = dock("dock.images", tr("Images"), imagesPanel_, Qt::LeftDockWidgetArea);
    auto* runScroll = scrolling(runPanel_);  // what a run says may need several lines
    runScroll->setMinimumHeight(runPanel_->minimumSizeHint().height() +
                                4 * fontMetrics().lineSpacing());
    auto* run = dock("dock.run", tr("Run"), runScroll, Qt::RightDockWidgetArea);
    auto* layers =
        dock("dock.layers", tr("Layers"), scrolling(layersPanel_), Qt::RightDockWidgetArea);
    auto* inspect = dock("dock.inspector", tr("Inspector"), inspector_, Qt::RightDockWidgetArea);
    explorer_ = new ExplorerPanel;
    auto* explore =
        dock("dock.explorer", tr("Explore"), scrolling(explorer_), Qt::LeftDockWidgetArea);
    tabifyDockWidget(images, explore);
    annotationsPanel_ =
        new AnnotationsPanel(annotations_, [this](const Annotation& a) { return measureText(a); });
    auto* annotate =
        dock("dock.annotations", tr("Annotate"), annotationsPanel_, Qt::LeftDockWidgetArea);
    tabifyDockWidget(explore, annotate);
    images->raise();
    contextsPanel_ = new ContextsPanel;
    auto* contexts =
        dock("dock.contexts", tr("Contexts"), contextsPanel_, Qt::BottomDockWidgetArea);
    contexts->hide();
    resizeDocks({images, run}, {290, 310}, Qt::Horizontal);
    resizeDocks({run, layers, inspect}, {330, 340, 110}, Qt::Vertical);
    connect(imagesPanel_, &ImagesPanel::folderAsked, this,
            [this] { actionNamed("file.openFolder")->trigger(); });
}

QAction* MainWindow::addNamedAction(QWidget* where, const char* name, const QString& text,
                                    const QKeySequence& key, std::function<void()> run) {
    auto* action = new QAction(text, this);
    action->setObjectName(name);
    action->setShortcut(key);
    if (!key.isEmpty())
        action->setToolTip(QString(text).remove('&') + " (" +
                           key.toString(QKeySequence::NativeText) + ")");
    connect(action, &QAction::triggered, this, std::move(run));
    where->addAction(action);
    if (where != this) addAction(action);
    return action;
}

QAction* MainWindow::actionNamed(const QString& objectName) const {
    return findChild<QAction*>(objectName);
}

void MainWindow::buildActions() {
    auto* file = menuBar()->addMenu(tr("&File"));
    auto* view = menuBar()->addMenu(tr("&View"));
    auto* tools = menuBar()->addMenu(tr("&Tools"));
    auto* runMenu = menuBar()->addMenu(tr("&Run"));
    auto* help = menuBar()->addMenu(tr("&Help"));
    auto* open =
        addNamedAction(file, "file.open", tr("&Open image …"), QKeySequence("Ctrl+O"), [this] {
            const QString path = QFileDialog::getOpenFileName(this, tr("Open image"));
            if (!path.isEmpty()) openImage(path);
        });
    addNamedAction(
        file, "file.openFolder", tr("Open &folder …"), QKeySequence("Ctrl+Shift+O"), [this] {
            const QString path = QFileDialog::getExistingDirectory(this, tr("Open folder"));
            if (!path.isEmpty()) openFolder(path);
        });
    recentMenu_ = file->addMenu(tr("Open &recent"));
    fillRecent();
    buildProjectActions(file);
    addNamedAction(file, "file.sample", tr("Try the &sample"), {},
                   [this] { openImage(options_.sampleImage); });
    addNamedAction(file, "file.saveView", tr("Save &view as picture …"),
                   QKeySequence("Ctrl+Shift+S"), [this] {
                       const QString path = QFileDialog::getSaveFileName(
                           this, tr("Save view"), "view.png", tr("PNG (*.png);;SVG (*.svg)"));
                       if (!path.isEmpty()) saveView(path);
                   });
    addNamedAction(file, "file.copyView", tr("&Copy view"), QKeySequence("Ctrl+C"),
                   [this] { copyView(); });
    file->addSeparator();
    addNamedAction(file, "file.quit", tr("&Quit"), QKeySequence("Ctrl+Q"), [this] { close(); });

    addNamedAction(view, "view.fit", tr("&Whole image"), QKeySequence("Home"),
                   [this] { canvas_->fit(); });
    addNamedAction(view, "view.zoomIn", tr("Zoom &in"), QKeySequence("+"),
                   [this] { canvas_->zoomBy(1.5); });
    addNamedAction(view, "view.zoomOut", tr("Zoom &out"), QKeySequence("-"),
                   [this] { canvas_->zoomBy(1 / 1.5); });
    for (int i = 1; i <= 9; ++i)
        addNamedAction(this, qPrintable(QString("view.magnification%1").arg(i)),
                       tr("Magnification %1").arg(i), QKeySequence(QString::number(i)), [this, i] {
                           canvas_->goTo(canvas_->transform().centre(), std::pow(2.0, i - 6));
                       });
    view->addSeparator();
    addNamedAction(view, "view.prediction", tr("&Prediction on/off"), QKeySequence("V"),
                   [this] { toggleLayer("prediction"); });
    addNamedAction(view, "view.attention", tr("&Attention on/off"), QKeySequence("H"),
                   [this] { toggleLayer(QString("attention%1").arg(scale_)); });
    addNamedAction(view, "view.finerScale", tr("&Finer attention scale"), QKeySequence(","),
                   [this] { stepScale(-1); });
    addNamedAction(view, "view.coarserScale", tr("&Coarser attention scale"), QKeySequence("."),
                   [this] { stepScale(1); });
    addNamedAction(view, "view.lessOpacity", tr("Less opacity"), QKeySequence("["),
                   [this] { changeOpacity(-0.1); });
    addNamedAction(view, "view.moreOpacity", tr("More opacity"), QKeySequence("]"),
                   [this] { changeOpacity(0.1); });
    addNamedAction(view, "view.explore", tr("&Explore attention"), QKeySequence("E"), [this] {
        auto* dock = findChild<QDockWidget*>("dock.explorer");
        dock->show();
        dock->raise();
    });
    addNamedAction(view, "view.contexts", tr("Table of &contexts"), QKeySequence("C"), [this] {
        auto* dock = findChild<QDockWidget*>("dock.contexts");
        dock->setVisible(!dock->isVisible());
        if (dock->isVisible()) resizeDocks({dock}, {230}, Qt::Vertical);
    });
    addNamedAction(view, "view.nextContext", tr("&Next context in the table"), QKeySequence("N"),
                   [this] { contextsPanel_->step(1); });
    addNamedAction(view, "view.previousContext", tr("Pre&vious context in the table"),
                   QKeySequence("Shift+N"), [this] { contextsPanel_->step(-1); });
    addNamedAction(view, "view.goTo", tr("&Go to coordinates …"), QKeySequence("Ctrl+G"), [this] {
        const QString text = QInputDialog::getText(
            this, tr("Go to coordinates"),
            image_ && image_->info().georeference
                ? tr("Map coordinates (east, north), or pixels as \"px x, y\":")
                : tr("x, y in pixels:"));
        if (!text.isEmpty()) goToText(text);
    });
    views_->addActions(view);
    auto* profile =
        addNamedAction(view, "view.profile", tr("Apply the colour profi&le"), {}, [] {});
    profile->setCheckable(true);
    profile->setChecked(true);
    profile->setToolTip(tr("Colours as the scanner's ICC profile says, where the image has one"));
    connect(profile, &QAction::toggled, canvas_, &Canvas::setUseProfile);
    view->addSeparator();
    addNamedAction(view, "view.associated", tr("Label and &macro images …"), {},
                   [this] { showAssociated(); });
    view->addSeparator();
    auto* alpha = view->addMenu(tr("&Band tagged as alpha"));
    auto* alphaGroup = new QActionGroup(this);
    const auto alphaChoice = [&](const char* name, const QString& text, io::AlphaChoice choice) {
        auto* action = addNamedAction(alpha, name, text, {}, [this, choice] { setAlpha(choice); });
        action->setCheckable(true);
        action->setChecked(choice == io::AlphaChoice::Auto);
        alphaGroup->addAction(action);
    };
    alphaChoice("view.alphaAuto", tr("Believe where the values look like it"),
                io::AlphaChoice::Auto);
    alphaChoice("view.alphaYes", tr("Is transparency"), io::AlphaChoice::Believe);
    alphaChoice("view.alphaNo", tr("Is data"), io::AlphaChoice::Ignore);
    view->addSeparator();
    addNamedAction(view, "view.fullScreen", tr("F&ull screen"), QKeySequence("F11"),
                   [this] { isFullScreen() ? showNormal() : showFullScreen(); });
    auto* docksAction =
        addNamedAction(view, "view.docks", tr("&Docks on/off"), QKeySequence("Tab"), [this] {
            if (!hiddenDocks_.isEmpty()) {
                for (auto* d : std::as_const(hiddenDocks_)) d->show();
                for (auto* d : std::as_const(hiddenDocks_)) d->raise();
                hiddenDocks_.clear();
                return;
            }
            for (auto* d : findChildren<QDockWidget*>()) {
                if (d->isHidden()) continue;
                const bool behind = d->visibleRegion().isEmpty();  // another dock's tab is in front
                behind ? hiddenDocks_.prepend(d) : hiddenDocks_.append(d);
            }
            for (auto* d : std::as_const(hiddenDocks_)) d->hide();
            canvas_->setFocus();
        });
    // In panels Tab goes to the next control; over the image it hides the docks.
    docksAction->setShortcutContext(Qt::WidgetShortcut);
    canvas_->addAction(docksAction);
    addNamedAction(view, "view.darkTheme", tr("Dark theme"), {}, [this] { setTheme("dark"); });
    addNamedAction(view, "view.lightTheme", tr("Light theme"), {}, [this] { setTheme("light"); });

    auto* group = new QActionGroup(this);
    const auto tool = [&](const char* name, const QString& text, const char* key, Tool which) {
        auto* action = addNamedAction(tools, name, text, QKeySequence(key),
                                      [this, which] { canvas_->setTool(which); });
        action->setCheckable(true);
        group->addAction(action);
        return action;
    };
    auto* move = tool("tool.move", tr("&Move"), "M", Tool::Move);
    auto* rectangle = tool("tool.rectangle", tr("&Rectangle"), "R", Tool::Rectangle);
    auto* probeTool = tool("tool.probe", tr("Attention &probe"), "T", Tool::Probe);
    for (const auto& [name, text, key, which] :
         {std::tuple{"tool.polygon", tr("&Polygon"), "P", Tool::Polygon},
          {"tool.ellipse", tr("&Ellipse"), "O", Tool::Ellipse},
          {"tool.line", tr("&Line and ruler"), "L", Tool::Line},
          {"tool.point", tr("Poin&t"), "X", Tool::Point},
          {"tool.brush", tr("&Brush"), "B", Tool::Brush}}) {
        auto* action = tool(name, text, key, which);
        connect(action, &QAction::triggered, this, [this] {
            auto* dock = findChild<QDockWidget*>("dock.annotations");
            dock->show();
            dock->raise();
        });
    }
    addNamedAction(tools, "annotate.keep", tr("&Keep the rectangle as annotation"),
                   QKeySequence("A"), [this] { keepRegion(); });
    addNamedAction(tools, "annotate.delete", tr("&Delete the selected annotation"),
                   QKeySequence(Qt::Key_Delete),
                   [this] { annotations_->remove(annotations_->selected()); });
    addNamedAction(tools, "annotate.undo", tr("&Undo"), QKeySequence("Ctrl+Z"),
                   [this] { annotations_->undo()->undo(); });
    addNamedAction(tools, "annotate.redo", tr("Red&o"), QKeySequence("Ctrl+Shift+Z"),
                   [this] { annotations_->undo()->redo(); });
    move->setChecked(true);
    auto* start = addNamedAction(runMenu, "run.startAction", tr("&Run"), QKeySequence("Ctrl+R"),
                                 [this] { startRun(); });
    addNamedAction(runMenu, "run.cancelAction", tr("&Cancel"), {}, [this] { runs_->cancelAll(); });
    addNamedAction(runMenu, "run.models", tr("&Models …"), QKeySequence("Ctrl+M"),
                   [this] { openModels(); });
    runsMenu_ = runMenu->addMenu(tr("&Show an earlier run"));
    runsMenu_->setObjectName("run.earlierMenu");
    compareMenu_ = runMenu->addMenu(tr("Com&pare with"));
    compareMenu_->setObjectName("run.compareMenu");
    runsMenu_->setEnabled(false);
    compareMenu_->setEnabled(false);
    addNamedAction(help, "help.guide", tr("&User's guide"), QKeySequence("F1"),
                   [this] { openGuide(); });
    addNamedAction(help, "help.commands", tr("&Commands …"), QKeySequence("Ctrl+L"),
                   [this] { openPalette(); });
    addNamedAction(help, "help.shortcuts", tr("&Keyboard shortcuts …"), QKeySequence("Ctrl+K"),
                   [this] { openShortcuts(); });
    addNamedAction(view, "view.settings", tr("Se&ttings …"), QKeySequence("Ctrl+,"),
                   [this] { openSettings(); });
    addNamedAction(help, "help.doctor", tr("&Doctor …"), {}, [this] { openDoctor(); });
    addNamedAction(help, "help.about", tr("&About AtlasScope"), {}, [this] { about(); });
    addNamedAction(this, "tool.none", tr("Cancel the tool"), QKeySequence("Esc"), [this, move] {
        clearMessage();
        canvas_->cancelDrawing();
        canvas_->setRegion({});
        canvas_->setProbeBoxes({});
        move->trigger();
    });
    restoreShortcuts(namedActions());
    auto* bar = addToolBar(tr("Tools"));
    bar->setObjectName("window.tools");
    bar->setMovable(false);
    bar->addAction(open);
    bar->addSeparator();
    bar->addActions(
        {move, rectangle, actionNamed("tool.polygon"), actionNamed("tool.line"), probeTool});
    bar->addSeparator();
    bar->addAction(actionNamed("view.fit"));
    bar->addAction(actionNamed("view.prediction"));
    bar->addAction(actionNamed("view.attention"));
    bar->addSeparator();
    bar->addAction(start);
}

void MainWindow::keyPressEvent(QKeyEvent* event) {
    switch (event->key()) {
        case Qt::Key_Left:
            return canvas_->panBy({kPanStep, 0});
        case Qt::Key_Right:
            return canvas_->panBy({-kPanStep, 0});
        case Qt::Key_Up:
            return canvas_->panBy({0, kPanStep});
        case Qt::Key_Down:
            return canvas_->panBy({0, -kPanStep});
        default:
            QMainWindow::keyPressEvent(event);
    }
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
    if (event->mimeData()->hasUrls()) event->acceptProposedAction();
}

void MainWindow::dropEvent(QDropEvent* event) {
    QStringList paths;
    for (const auto& url : event->mimeData()->urls())
        if (url.isLocalFile()) paths << url.toLocalFile();
    if (!paths.isEmpty()) openDropped(paths);
}

void MainWindow::setTheme(const QString& name) {
    applyTheme(*qApp, name);
    QSettings().setValue("window/theme", name);
    settings_.theme = name;
    canvas_->update();
}

void MainWindow::rememberRecent(const QString& path) {
    QSettings settings;
    QStringList recent = settings.value("files/recent").toStringList();
    recent.removeAll(path);
    recent.prepend(path);
    settings.setValue("files/recent", recent.mid(0, kRecentFiles));
    fillRecent();
}

void MainWindow::fillRecent() {
    recentMenu_->clear();
    const QStringList recent = QSettings().value("files/recent").toStringList();
    for (const auto& path : recent)
        recentMenu_->addAction(QFileInfo(path).fileName(), this, [this, path] { openImage(path); })
            ->setToolTip(path);
    recentMenu_->setEnabled(!recent.isEmpty());
}

void MainWindow::copyView() {
    QApplication::clipboard()->setImage(canvas_->grabFramebuffer());
}

bool MainWindow::goToText(const QString& text) {
    if (!image_) return false;
    const bool pixels = text.trimmed().startsWith("px");
    static const QRegularExpression number(R"([-+]?\d+(?:\.\d+)?)");
    QList<double> values;
    for (auto it = number.globalMatch(text); it.hasNext();)
        values << it.next().captured().toDouble();
    // A comma stands between two coordinates; where a semicolon does, it is a decimal comma.
    if (const QStringList two = QString(text).remove("px").split(';'); two.size() == 2) {
        values.clear();
        for (const auto& one : two)
            if (const auto value = io::parseTypedNumber(one.toStdString())) values << *value;
    }
    QPointF at;
    const auto& full = image_->info().levels[0];
    if (values.size() == 2) {
        at = {values[0], values[1]};
        if (const auto& geo = image_->info().georeference; geo && !pixels) {
            const auto& t = geo->transform;
            const double determinant = t[1] * t[5] - t[2] * t[4];
            const double dx = at.x() - t[0], dy = at.y() - t[3];
            at = {(dx * t[5] - dy * t[2]) / determinant, (dy * t[1] - dx * t[4]) / determinant};
        }
    }
    if (values.size() != 2 ||
        !(at.x() >= 0 && at.y() >= 0 && at.x() <= static_cast<double>(full.width) &&
          at.y() <= static_cast<double>(full.height))) {
        showMessage(tr("\"%1\" is no place in this image.").arg(text));
        return false;
    }
    canvas_->goTo(at, std::max(canvas_->transform().scale(), 0.5));
    canvas_->setProbeBoxes({QRectF(at.x() - 8, at.y() - 8, 16, 16)});
    return true;
}

void MainWindow::showAssociated() {
    if (!image_ || image_->info().associatedImages.empty()) {
        showMessage(tr("This image carries no label or macro image."));
        return;
    }
    auto* dialog = new QDialog(this);
    dialog->setObjectName("associated.dialog");
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->setWindowTitle(tr("Images in the file"));
    auto* tabs = new QTabWidget;
    for (const auto& name : image_->info().associatedImages) {
        auto* label = new QLabel;
        label->setAlignment(Qt::AlignCenter);
        try {
            const auto part = image_->source()->associatedImage(name);
            const QImage picture(part.rgba.data(), part.width, part.height, 4 * part.width,
                                 QImage::Format_RGBA8888);
            label->setPixmap(QPixmap::fromImage(
                picture.scaled(720, 520, Qt::KeepAspectRatio, Qt::SmoothTransformation)));
        } catch (const std::exception& error) {
            label->setText(QString::fromUtf8(error.what()));
        }
        tabs->addTab(label, QString::fromStdString(name));
    }
    auto* layout = new QVBoxLayout(dialog);
    layout->addWidget(tabs);
    dialog->open();
}

bool MainWindow::saveView(const QString& path) {
    if (!path.endsWith(".svg", Qt::CaseInsensitive)) {
        if (canvas_->grabFramebuffer().save(path)) return true;
        showMessage(tr("%1: cannot be written").arg(path));
        return false;
    }
    QFile file(path);
    if (!file.open(QIODevice::WriteOnly)) {
        showMessage(tr("%1: cannot be written: %2").arg(path, file.errorString()));
        return false;
    }
    QSvgGenerator svg;
    svg.setOutputDevice(&file);
    svg.setSize(canvas_->size());
    svg.setViewBox(canvas_->rect());
    svg.setTitle(QFileInfo(path_).fileName());
    svg.setDescription(tr("A view of %1, by AtlasScope").arg(QFileInfo(path_).fileName()));
    QPainter painter(&svg);
    painter.drawImage(canvas_->rect(), canvas_->pictureWithoutDecorations());
    canvas_->decorate(painter);
    painter.end();
    return true;
}

std::vector<QAction*> MainWindow::namedActions() const {
    std::vector<QAction*> actions;
    for (auto* action : findChildren<QAction*>(Qt::FindDirectChildrenOnly))
        if (action->objectName().contains('.')) actions.push_back(action);
    std::sort(actions.begin(), actions.end(), [](const QAction* a, const QAction* b) {
        return a->objectName().section('.', 0, 0) != b->objectName().section('.', 0, 0)
                   ? a->objectName() < b->objectName()
                   : QString(a->text()).remove('&') < QString(b->text()).remove('&');
    });
    return actions;
}

void MainWindow::openPalette() {
    auto* dialog = new CommandPalette(namedActions(), this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::openShortcuts() {
    auto* dialog = new ShortcutsPage(namedActions(), this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::openDoctor() {
    auto* dialog = new DoctorPage(options_.facts, options_.selfTest, this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::openGuide() {
    if (!QFileInfo(options_.guide).isReadable()) {
        showMessage(tr("The user's guide is not installed (%1).").arg(options_.guide));
        return;
    }
    auto* dialog = new QDialog(this);
    dialog->setObjectName("guide.dialog");
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->setWindowTitle(tr("User's guide"));
    dialog->resize(860, 720);
    auto* page = new QTextBrowser;
    page->setObjectName("guide.page");
    page->setSearchPaths({QFileInfo(options_.guide).absolutePath()});
    connect(page, &QTextBrowser::sourceChanged, page, [page] {
        page->document()->setDocumentMargin(18);
        fitPictures(*page->document());
    });
    page->setSource(QUrl::fromLocalFile(QFileInfo(options_.guide).absoluteFilePath()),
                    QTextDocument::MarkdownResource);
    auto* contents =
        namedButton("guide.contents", tr("Contents"), tr("All pages of the guide (Alt+Home)"));
    contents->setShortcut(QKeySequence("Alt+Home"));
    connect(contents, &QPushButton::clicked, page, [page] { page->home(); });
    auto* layout = new QVBoxLayout(dialog);
    layout->addWidget(contents, 0, Qt::AlignLeft);
    layout->addWidget(page);
    dialog->open();
}

void MainWindow::about() {
    QMessageBox::about(this, tr("About AtlasScope"),
                       tr("<h3>AtlasScope</h3><p>Gigapixel slides and satellite images, classified "
                          "with Multi-Scale Attention "
                          "(arXiv 2503.12355) and explained by scale.</p><p><b>For research use "
                          "only, not for diagnosis.</b></p>"
                          "<p>Wheel zooms at the pointer, drag pans, Home shows the whole image, R "
                          "draws a rectangle, T probes attention, "
                          "V and H switch prediction and attention, comma and full stop change the "
                          "scale, Ctrl+R runs.</p>"));
}

}  // namespace atlas::ui
