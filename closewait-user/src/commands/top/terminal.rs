//! The terminal: taken over, drawn on, and given back as it was, also after a panic.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread::{self, ThreadId};

use crossterm::cursor::Show;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{queue, style};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::Notify;

use super::painter::{Painter, Picture};
use super::state::Top;
use super::view::{self, Looks};
use super::way::Way;
use crate::diagnostics;
use crate::error::Failure;

/// Whether a terminal is to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The screen; the terminal is given back when it is dropped.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Picture>>,
    picture: Picture,
    painter: Painter,
    looks: Looks,
}

/// Fails unless there is a terminal to show something on.
pub fn present() -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::new("top needs a terminal, and stdout is none").hint(
        "`closewait-trace` and `closewait-trace snapshot` print the same as text or, with -o json, as JSON",
    ))
}

impl Screen {
    /// Takes the terminal over.
    pub fn enter(looks: Looks) -> io::Result<Self> {
        style::force_color_output(looks.color);
        restore_after_panic(thread::current().id());
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        diagnostics::hold_back(io::stderr().is_terminal());
        // From here on dropping gives it back.
        let mut picture = Picture::default();
        let screen = Way::stdout().and_then(Painter::begin).and_then(|painter| {
            let terminal = Terminal::new(CrosstermBackend::new(picture.clone()))?;
            queue!(picture, EnterAlternateScreen)?;
            painter.paint(picture.take());
            Ok(Self { terminal, picture, painter, looks })
        });
        screen.inspect_err(|_| give_back())
    }

    /// Draws what is to be seen, and tells it the size of the screen. If the terminal has not
    /// taken the last picture yet, it does nothing, and [`Screen::free`] tells when it has.
    pub fn draw(&mut self, top: &mut Top) -> io::Result<()> {
        if !self.painter.is_free()? {
            return Ok(());
        }
        let looks = self.looks;
        self.terminal.draw(|frame| {
            let area = frame.area();
            top.size = (area.width, area.height);
            view::draw(top, looks, area, frame.buffer_mut());
        })?;
        self.painter.paint(self.picture.take());
        Ok(())
    }

    /// Forgets what is on the screen: the next picture is drawn whole.
    pub fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks the terminal where its cursor is, and fails if it does not say.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Tells when a picture can be drawn that could not be.
    pub fn free(&self) -> Arc<Notify> {
        self.painter.free()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.painter.end();
        give_back();
    }
}

/// Gives the terminal back, once.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // The modes can be restored at any time, and the rest if it takes output. Nothing can be
        // done about a terminal that is gone.
        let _ = disable_raw_mode();
        let mut last = Vec::new();
        let told = queue!(last, LeaveAlternateScreen, Show).and_then(|()| Way::stdout()).and_then(|way| {
            way.end(false);
            way.tell(&last).or_else(|_| {
                way.end(true);
                way.tell(&last)
            })
        });
        // What is logged would wait for a terminal that takes nothing.
        if told.is_ok() {
            diagnostics::hold_back(false);
        }
    }
}

/// Has a panic of this thread give the terminal back before it says anything.
fn restore_after_panic(of: ThreadId) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Another thread's panic does not end the picture.
            if thread::current().id() == of {
                give_back();
            }
            before(panic);
        }));
    });
}
