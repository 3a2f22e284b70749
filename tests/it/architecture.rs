//! The promises in ARCHITECTURE.md about the library's modules: no circular imports, and a pure core.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Modules by path (`amplitude::client`), with the modules that they use outside of tests.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// Names that the core must not contain: HTTP, AWS, the clock, the runtime and the operating system.
const IMPURE: [&str; 10] =
    ["http::", "hyper", "reqwest", "aws_", "lambda_", "tokio", "SystemTime", "Instant", "std::env", "std::fs"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The code of every module, without tests and comments.
fn modules() -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    let mut directories = vec![source()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(source()).unwrap().with_extension("");
            let name = relative.to_str().unwrap().replace('/', "::");
            if path.is_dir() {
                if name != "bin" {
                    directories.push(path);
                }
            } else if !["lib", "main"].contains(&&*name) {
                let code = std::fs::read_to_string(&path).unwrap();
                let tests = ["#[cfg(test)]\nmod tests", "#[cfg(test)]\npub(crate) mod tests"];
                let end = tests.iter().filter_map(|start| code.find(start)).min().unwrap_or(code.len());
                let code = &code[..end];
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                modules.insert(name, lines.collect::<Vec<_>>().join("\n"));
            }
        }
    }
    modules
}

/// The names that code imports from this crate or uses by full path: `amplitude::client::Client`.
fn paths(module: &str, code: &str) -> Vec<String> {
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut paths = Vec::new();
    for (prefix, base) in [("crate::", ""), ("super::", parent), ("self::", module)] {
        for (start, _) in code.match_indices(prefix) {
            if code[..start].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':') {
                continue;
            }
            let rest = &code[start + prefix.len()..];
            let stem: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
            let stem = if base.is_empty() { stem } else { format!("{base}::{stem}") };
            // A list in braces may contain modules.
            let list = rest.split_once('{').filter(|(before, _)| stem.ends_with(before) && stem.ends_with("::"));
            match list.and_then(|(_, list)| list.split_once('}')) {
                Some((list, _)) => paths.extend(list.split(',').map(|name| format!("{stem}{}", name.trim()))),
                None => paths.push(stem),
            }
        }
    }
    paths
}

fn graph() -> Graph {
    let modules = modules();
    let resolve = |path: &str| {
        let mut path = path.trim_end_matches(':').to_owned();
        while !modules.contains_key(&path) {
            path.truncate(path.rfind("::")?);
        }
        Some(path)
    };
    let edges = |(module, code): (&String, &String)| {
        let used = paths(module, code).iter().filter_map(|path| resolve(path)).filter(|used| used != module).collect();
        (module.clone(), used)
    };
    modules.iter().map(edges).collect()
}

/// A path from a module back to itself.
fn circle(graph: &Graph) -> Option<Vec<&str>> {
    fn visit<'g>(graph: &'g Graph, way: &mut Vec<&'g str>, done: &mut BTreeSet<&'g str>) -> bool {
        let module = *way.last().unwrap();
        for used in &graph[module] {
            if way.contains(&&**used) {
                way.push(used);
                return true;
            }
            if !done.contains(&**used) {
                way.push(used);
                if visit(graph, way, done) {
                    return true;
                }
                way.pop();
            }
        }
        done.insert(module);
        false
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| {
        let mut way = vec![&**module];
        visit(graph, &mut way, &mut done).then_some(way)
    })
}

#[test]
fn modules_have_no_circular_imports() {
    let graph = graph();
    assert!(graph.len() > 30 && graph["webhook"].contains("forward"), "the edges are read: {graph:?}");
    assert_eq!(circle(&graph), None);
    // The same holds between top-level modules, each with its submodules.
    let top = |module: &str| module.split("::").next().unwrap().to_owned();
    let mut rooms = Graph::new();
    for (module, used) in &graph {
        let room = rooms.entry(top(module)).or_default();
        room.extend(used.iter().map(|used| top(used)).filter(|used| *used != top(module)));
    }
    assert_eq!(circle(&rooms), None);
}

#[test]
fn circular_imports_are_detected() {
    let edge = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    let graph = Graph::from([edge("a", "b"), edge("b", "c"), edge("c", "b")]);
    assert_eq!(circle(&graph), Some(vec!["a", "b", "c", "b"]));
    let code =
        "use crate::money::{amount, currency::Currency};\nuse super::event::id_of;\nlet x = crate::clock::now();";
    let expected = ["money::amount", "money::currency::Currency", "clock::now", "stripe::event::id_of"];
    assert_eq!(paths("stripe::json", code), expected);
}

#[test]
fn core_uses_no_http_no_aws_and_no_clock() {
    let (graph, modules) = (graph(), modules());
    let mut core = BTreeSet::new();
    let mut reached = vec!["forward".to_owned()];
    while let Some(module) = reached.pop() {
        reached.extend(graph[&module].iter().cloned());
        core.insert(module);
        reached.retain(|module| !core.contains(module));
    }
    for part in ["money::amount", "settings", "stripe::event", "stripe::signature", "translate::revenue"] {
        assert!(core.contains(part), "{part} is part of the core: {core:?}");
    }
    for module in core {
        for word in IMPURE {
            assert!(!modules[&module].contains(word), "{module} knows {word}");
        }
    }
}
