//! The licences of the libraries that are inside the executable: most ask that their text goes
//! with it.

use crate::{command, workspace};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

/// Names, versions and licences of all of them, and each text once.
///
/// # Errors
/// When cargo does not tell what is inside, or a library has no licence.
pub(super) fn text(triple: &str) -> Result<String> {
    let mut cargo = command::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", triple]);
    let metadata: Value = serde_json::from_str(&command::output(cargo.current_dir(workspace::root()))?)?;
    let mut list = "Rust's standard library: MIT OR Apache-2.0\n".to_owned();
    list += if triple.ends_with("musl") { "musl: MIT\n" } else { "glibc: LGPL-2.1-or-later\n" };
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in linked(&metadata)? {
        let name = format!("{} {}", package["name"].as_str().unwrap_or_default(), version(package));
        let licence = package["license"].as_str().with_context(|| format!("{name} has no licence"))?;
        writeln!(list, "{name}: {licence}")?;
        let manifest = package["manifest_path"].as_str().context("no manifest")?;
        for text in files(Path::new(manifest).parent().context("no directory")?)? {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    ensure!(!texts.is_empty(), "no library has a licence text");
    let mut all = format!("closewait-trace has these libraries in it:\n\n{list}");
    let mut texts: Vec<_> = texts.into_iter().map(|(text, of)| (of, text)).collect();
    texts.sort();
    for (of, text) in texts {
        write!(all, "\n{}\n{}:\n\n{}\n", "=".repeat(78), of.join(", "), text.trim_end())?;
    }
    Ok(all)
}

fn version(package: &Value) -> &str {
    package["version"].as_str().unwrap_or_default()
}

/// The packages that are linked into the tool, others' only, by name: not what only builds or
/// tests it.
fn linked(metadata: &Value) -> Result<Vec<&Value>> {
    let packages = metadata["packages"].as_array().context("cargo tells no packages")?;
    let nodes = metadata["resolve"]["nodes"].as_array().context("cargo tells no dependencies")?;
    let of_id = |id: &str| packages.iter().find(|package| package["id"] == id);
    let tool = packages.iter().find(|package| package["name"] == "closewait-trace");
    let mut open = vec![tool.and_then(|tool| tool["id"].as_str()).context("the tool is not in it")?];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id).context("a dependency is missing")?;
        for needed in node["deps"].as_array().into_iter().flatten() {
            let kinds = needed["dep_kinds"].as_array();
            let is_linked = kinds.into_iter().flatten().any(|kind| kind["kind"].is_null());
            let id = needed["pkg"].as_str().context("a dependency without a name")?;
            if is_linked && !of_id(id).is_some_and(is_macro) {
                open.push(id);
            }
        }
    }
    let mut linked: Vec<&Value> =
        seen.into_iter().filter_map(of_id).filter(|package| !package["source"].is_null()).collect();
    linked.sort_by_key(|package| (package["name"].as_str(), version(package)));
    Ok(linked)
}

/// Whether it runs in the compiler only.
fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array();
    let mut kinds = targets.into_iter().flatten().filter_map(|target| target["kind"][0].as_str());
    kinds.any(|kind| kind == "proc-macro")
}

/// What a library says of its licence, in the order of the names.
fn files(dir: &Path) -> Result<Vec<String>> {
    let mut names: Vec<_> = dir.read_dir()?.flatten().map(|entry| entry.path()).collect();
    names.sort();
    let is_licence = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        path.is_file() && ["LICEN", "COPY", "NOTICE", "UNLICEN"].iter().any(|start| name.starts_with(start))
    };
    names.retain(|path| is_licence(path));
    names.iter().map(|path| Ok(String::from_utf8_lossy(&fs::read(path)?).replace("\r\n", "\n"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_linked_counts() {
        let package = |name: &str, kind: &str| json!({"id": name, "name": name, "version": "1", "source": "registry", "targets": [{"kind": [kind]}]});
        let mut tool = package("closewait-trace", "lib");
        tool["source"] = Value::Null;
        let needs = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [tool, package("z", "lib"), package("deep", "lib"), package("tests", "lib"),
                package("derive", "proc-macro"), package("syn", "lib"), package("cc", "lib")],
            "resolve": {"nodes": [
                {"id": "closewait-trace", "deps": [needs("z", Value::Null), needs("tests", json!("dev")),
                    needs("derive", Value::Null), needs("cc", json!("build"))]},
                {"id": "z", "deps": [needs("deep", Value::Null)]},
                {"id": "deep", "deps": []},
                {"id": "derive", "deps": [needs("syn", Value::Null)]},
            ]},
        });
        let names: Vec<_> =
            linked(&metadata).unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["deep", "z"]);
    }
}
