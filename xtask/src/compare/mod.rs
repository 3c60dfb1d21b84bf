//! `cargo xtask compare`: which questions about a leak the tool answers, and which ss, lsof,
//! tcpstates and bpftrace do, each tried on one and the same leak. Every cell of the table
//! in the README comes from here, with the line that it rests on; all that the tools said
//! is kept in `target/compare`.

mod questions;
mod scene;
mod tools;

use crate::{
    bench::peers::Peer,
    build::{self, Executables},
    privilege, workspace,
};
use anyhow::{Result, ensure};
use std::fs;

use questions::{Answer, QUESTIONS};
use scene::Scene;
use tools::{Said, Tool};

/// Tools that are not in Debian, and so were not tried.
const UNTRIED: &str = "Inspektor Gadget is not in Debian and was not tried.";

/// Prints the table, and for each cell what it rests on.
///
/// # Errors
/// When we are not root, or something cannot be built or started.
pub(crate) fn run() -> Result<()> {
    ensure!(privilege::is_root(), "this chore needs root");
    let built = Executables::build(&["build", "--bin", "closewait-trace"], None)?;
    let scenarios = workspace::target_dir().join("scenarios");
    build::scenarios(&scenarios)?;
    let kept = workspace::target_dir().join("compare");
    fs::create_dir_all(&kept)?;

    let ours = built.get("closewait-trace")?;
    let tools = [
        Tool::ours(ours),
        Tool::Ss,
        Tool::lsof(),
        Tool::Tcpstates(Peer::find("tcpstates")),
        Tool::Bpftrace(Peer::find("bpftrace")),
    ];
    let mut scene = Scene::new()?;
    // Those that watch have to be there before.
    let watching = tools.iter().map(|tool| tool.watch(&scene, &kept)).collect::<Result<Vec<_>>>()?;
    scene.leak(&scenarios)?;
    let mut said = Vec::new();
    for (tool, watching) in tools.iter().zip(watching) {
        said.push(tool.ask(&scene, watching, &kept)?);
    }
    print(&tools, &said, &scene);
    Ok(())
}

fn print(tools: &[Tool], said: &[Said], scene: &Scene) {
    let rows: Vec<(&str, Vec<Answer>)> = QUESTIONS
        .iter()
        .map(|question| (question.asks, said.iter().map(|said| (question.answer)(said, scene)).collect()))
        .collect();
    for (asks, answers) in &rows {
        println!("{asks}");
        for (tool, answer) in tools.iter().zip(answers) {
            println!("  {:<16} {:<6} {}", tool.name(), answer.word(), answer.because());
        }
    }
    let names: Vec<_> = tools.iter().map(Tool::name).collect();
    println!("\n| | {} |\n|---{}|", names.join(" | "), "|---".repeat(names.len()));
    for (asks, answers) in &rows {
        let words: Vec<_> = answers.iter().map(Answer::word).collect();
        println!("| {asks} | {} |", words.join(" | "));
    }
    for tool in tools {
        if let Some(why) = tool.missing() {
            println!("{} was not tried: {why}", tool.name());
        }
    }
    println!("{UNTRIED}");
}
