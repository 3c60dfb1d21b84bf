//! Go programs without symbols, named by the table that they carry: the same functions,
//! files and lines that the runtime of the program finds there, all over its code.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use closewait_trace::stack::file::HeldFile;
use closewait_trace::stack::places::{Place, Placed};
use closewait_trace::stack::symbolize::Symbols;
use closewait_trace::verdict::{Frame, How};

use crate::deep::source;
use crate::process::run;
use crate::waiting::show;

fn build(to: &Path, flags: &[&str]) {
    let program = source("../table.go");
    run(Command::new("go").arg("build").args(flags).arg("-o").arg(to).arg(program));
}

/// The functions at a place of a file.
struct Named {
    file: Arc<HeldFile>,
    symbols: Symbols,
}

impl Named {
    fn of(program: &Path) -> Self {
        Self { file: Arc::new(HeldFile::of_path(program).unwrap()), symbols: Symbols::default() }
    }

    fn at(&mut self, offset: u64) -> Vec<Frame> {
        let file = Some(Ok(Arc::clone(&self.file)));
        let module = "program".to_owned();
        let place = Place { addr: offset + 1, how: How::Fp, module, offset, file, jit: None };
        let stack = self.symbols.stack(&Placed { places: vec![place], ..Placed::default() });
        Arc::unwrap_or_clone(stack.frames)
    }
}

fn told(frame: &Frame) -> String {
    let (name, file) =
        (frame.symbol.as_deref().unwrap_or_default(), frame.file.as_deref().unwrap_or_default());
    format!("{name}\t{file}\t{}", frame.line.unwrap_or_default())
}

/// Compares for each place that the program prints what its runtime says, and what the debug
/// information says of a build that has some, with what the tool finds without.
fn agrees(what: &str, flags: &[&str], linker: &str) {
    let dir = tempfile::tempdir().unwrap();
    let (program, debug) = (dir.path().join("program"), dir.path().join("debug"));
    let link = |to: &Path, more: &str| build(to, &[flags, &[&format!("-ldflags={linker} {more}")]].concat());
    link(&program, "-s -w");
    link(&debug, "");
    let said = String::from_utf8(Command::new(&program).output().unwrap().stdout).unwrap();
    let (mut stripped, mut debug) = (Named::of(&program), Named::of(&debug));
    let (mut inlined, mut all) = (0, 0);
    let (mut wrong, mut odd) = (Vec::new(), Vec::new());
    for line in said.lines() {
        let (offset, want) = line.split_once('\t').unwrap();
        let offset = offset.parse().unwrap();
        let frames = stripped.at(offset);
        let got: Vec<_> = frames.iter().map(told).collect();
        // Between functions there is no line.
        let want = want.replace("\t?\t0", "\t\t0");
        // It takes the first name of all for none.
        let same = got[0] == want
            || want
                .strip_prefix('\t')
                .is_some_and(|place| frames[0].line.is_some() && got[0].ends_with(place));
        // What C's compiler made has names in the table of symbols only.
        let is_go = want != "\t\t0";
        if is_go && !same {
            wrong.push(format!("{offset:#x}\n  runtime {want}\n  tool    {got:?}"));
        }
        let by_debug: Vec<_> =
            debug.at(offset).iter().map(told).map(|it| it.replace("./<auto", "<auto")).collect();
        if by_debug != got && !want.ends_with("\t0") {
            odd.push(format!("{offset:#x}\n  debug   {by_debug:?}\n  tool    {got:?}"));
        }
        all += usize::from(is_go);
        inlined += usize::from(frames.len() > 1);
    }
    show(&format!(
        "{what}: {all} places with names, {} unlike the runtime, {inlined} with inlined calls, {} unlike the debug information",
        wrong.len(),
        odd.len()
    ));
    let first = |all: &[String]| all[..all.len().min(8)].join("\n");
    show(&first(&odd));
    // Debug information has shorter ways for some wrappers that the compiler makes.
    assert!(odd.len() * 500 < all, "{} of {all} unlike the debug information", odd.len());
    assert!(wrong.is_empty(), "{what}: {} wrong, first\n{}", wrong.len(), first(&wrong));
    assert!(all > 5_000 && inlined > 500, "too little to compare");
}

#[test]
fn stripped() {
    agrees("Go, stripped", &[], "");
}

#[test]
fn stripped_and_movable() {
    agrees("Go, stripped, position independent", &["-buildmode=pie"], "");
}

#[test]
fn stripped_and_linked_by_the_c_compiler() {
    agrees("Go, stripped, linked by the C compiler", &["-buildmode=pie"], "-linkmode=external");
}
