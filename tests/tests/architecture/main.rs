//! Checks the structure of the crates: no two files use each other, nor do two rooms; the map draws
//! the rooms as they are; and a type's name means one type.

mod graph;
mod modules;

use std::collections::{BTreeMap, BTreeSet};

use graph::Graph;
use modules::{ModulePath, Modules};
use portolan_tests::sources::{read, root};

/// The libraries, each under the name of its folder.
fn crates() -> [(&'static str, Modules); 3] {
    ["stack", "runtime", "tap-driver"].map(|name| (name, Modules::of(&format!("{name}/src"))))
}

/// The files that use definitions of other files. `Connection` and the files that extend it are one
/// node.
fn graph_of_files(modules: &Modules) -> Graph {
    let connection = modules.extending(&["tcp", "connection"], "Connection");
    let name = |module: &ModulePath| match connection.contains(&module) {
        true => "tcp::connection and its parts".to_string(),
        false => module.join("::"),
    };
    let mut graph = Graph::default();
    modules.arrows().into_iter().for_each(|(from, to)| graph.add(name(from), name(to)));
    graph
}

/// The one arrow that closes a circle of rooms: every call lends a connection the free list of
/// queues and scoreboards with its `Ctx`, and only TCP knows what is in the list.
const LENT: (&[&str], &[&str]) = (&["ctx"], &["tcp", "free_list"]);

/// The rooms that use definitions of other rooms. A room is a module of the crate's root with all
/// that it holds. What is there for tests uses everything, and is left out.
fn graph_of_rooms(modules: &Modules) -> Graph {
    let mut graph = Graph::default();
    let is_lent = |&(from, to): &(&ModulePath, &ModulePath)| *from == LENT.0 && *to == LENT.1;
    for (from, to) in modules.arrows().into_iter().filter(|arrow| !is_lent(arrow)) {
        if let (Some(from), Some(to)) = (from.first(), to.first())
            && ![from, to].contains(&&"testing".to_string())
        {
            graph.add(from.clone(), to.clone());
        }
    }
    graph
}

/// The arrows of each circle, as text.
fn circles_of(graph: &Graph) -> String {
    let mut found = String::new();
    for circle in graph.circles() {
        for (from, to) in graph.arrows().filter(|(from, to)| circle.contains(from) && circle.contains(to)) {
            found += &format!("\n    {from} -> {to}");
        }
        found += "\n";
    }
    found
}

#[test]
fn no_file_uses_one_that_uses_it() {
    for (name, modules) in crates() {
        let found = circles_of(&graph_of_files(&modules));
        assert!(found.is_empty(), "circles of files in {name}:{found}");
    }
}

#[test]
fn no_room_uses_one_that_uses_it() {
    for (name, modules) in crates() {
        let found = circles_of(&graph_of_rooms(&modules));
        assert!(found.is_empty(), "circles of rooms in {name}:{found}");
    }
    let (from, to) = LENT;
    let of_stack = Modules::of("stack/src");
    assert!(of_stack.arrows().contains(&(&path(from), &path(to))), "the exception is not needed any more");
}

fn path(names: &[&str]) -> ModulePath {
    names.iter().map(|name| name.to_string()).collect()
}

/// The rooms with the arrows from which all others follow.
#[test]
fn the_map_draws_the_rooms_as_they_are() {
    let page = read(&root().join("docs/01-map.md"));
    for name in ["stack", "runtime"] {
        let modules = Modules::of(&format!("{name}/src"));
        let graph = graph_of_rooms(&modules);
        let wanted: BTreeSet<String> =
            graph.reduced().iter().map(|(from, to)| format!("{from} --> {to}")).collect();
        let (_, section) = page.split_once(&format!("The rooms of `{name}/src`")).expect("a drawing");
        let (_, drawing) = section.split_once("```mermaid\n").expect("a drawing");
        let lines = drawing.lines().take_while(|line| *line != "```").filter(|line| line.contains("-->"));
        let drawn: BTreeSet<String> = lines.map(|line| line.trim().to_string()).collect();
        let missing: Vec<&String> = wanted.difference(&drawn).collect();
        let wrong: Vec<&String> = drawn.difference(&wanted).collect();
        assert!(missing.is_empty() && wrong.is_empty(), "{name}: draw {missing:#?} and not {wrong:#?}");
    }
}

/// The table of rooms on the front page of the crate's documentation.
#[test]
fn the_front_page_names_every_room_once() {
    for name in ["stack", "runtime"] {
        let front = read(&root().join(format!("{name}/src/lib.rs")));
        let rows = front.lines().skip_while(|line| !line.ends_with("| what it does |")).skip(2);
        let rooms = rows.map_while(|line| line.strip_prefix("//! |")?.split('|').next());
        let mut named: Vec<&str> = rooms.flat_map(|rooms| rooms.split('`').skip(1).step_by(2)).collect();
        named.sort_unstable();
        let modules = Modules::of(&format!("{name}/src"));
        let there: Vec<&str> = modules.rooms().filter(|room| *room != "testing").collect();
        assert_eq!(named, there, "{name}/src/lib.rs");
    }
}

/// The sockets for tasks have the names of those for threads, as those of `tokio::net` have the
/// names of `std::net`.
const NAMED_AS_OUTSIDE: &str = "task";

#[test]
fn a_type_has_a_name_of_its_own() {
    let mut found = String::new();
    for (of, modules) in crates() {
        let mut by_name: BTreeMap<(bool, &str), Vec<String>> = BTreeMap::new();
        for (name, module) in modules.types() {
            let is_for_tasks = module.first().is_some_and(|room| room == NAMED_AS_OUTSIDE);
            by_name.entry((is_for_tasks, name)).or_default().push(module.join("::"));
        }
        for ((_, name), modules) in by_name.into_iter().filter(|(_, modules)| modules.len() > 1) {
            found += &format!("    {of}: {name} in {}\n", modules.join(", "));
        }
    }
    assert!(found.is_empty(), "types of the same name:\n{found}");
}

/// Items that determine when a thread runs and what it sees. The runtime takes them from its module
/// `sync`, of which the models in `runtime/loom` and `runtime/shuttle` have their own.
const FOR_MODELS: &[&str] = &[
    "alloc::sync",
    "core::hint::spin_loop",
    "core::sync",
    "rustix::event::poll",
    "rustix::thread::futex",
    "std::hint::spin_loop",
    "std::sync",
    "std::thread",
    "std::time::Instant::now",
];

/// Exceptions, and the module that may use each; `None` is any module. No thread waits in these.
const NOT_FOR_MODELS: &[(Option<&str>, &str)] = &[
    (None, "std::sync::Arc"),
    (None, "std::sync::PoisonError"),
    (None, "std::thread::panicking"),
    // The epoch of the clock, which is constant once it was read.
    (Some("clock"), "std::sync::OnceLock"),
    (Some("clock"), "std::time::Instant"),
];

/// Whether a path names this, an item in it, or, like `use std::sync;`, a part of the name behind
/// which it is hidden.
fn may_mean(path: &[String], name: &str) -> bool {
    let name: Vec<&str> = name.split("::").collect();
    let common = path.len().min(name.len());
    common > 1 && path[..common] == name[..common]
}

/// Items that modules use without `sync`.
fn past_the_models(modules: &Modules) -> Vec<String> {
    let is_bad = |module: &str, path: &[String]| {
        let is_allowed = |(of, name): &(Option<&str>, &str)| {
            of.is_none_or(|of| of == module) && path.len() >= name.split("::").count() && may_mean(path, name)
        };
        FOR_MODELS.iter().any(|name| may_mean(path, name)) && !NOT_FOR_MODELS.iter().any(is_allowed)
    };
    let named = modules.paths().map(|(module, path)| (module.join("::"), path));
    let found = named.filter(|(module, path)| module != "sync" && is_bad(module, path));
    found.map(|(module, path)| format!("{module}: {}", path.join("::"))).collect()
}

#[test]
fn the_runtime_takes_threads_and_locks_from_what_models_replace() {
    let found = past_the_models(&Modules::of("runtime/src"));
    assert!(found.is_empty(), "take these from `crate::sync`:\n{}", found.join("\n"));
    let text = "use std::{sync::{Arc, Mutex}, thread}; use rustix::event::{self, PollFd};
        fn f() { std::thread::panicking(); std::thread::park(); g!(std::sync::atomic::fence(o)) }";
    let found = past_the_models(&Modules::of_texts(&[("", ""), ("sync", text), ("a", text)]));
    assert_eq!(
        found,
        [
            "a: std::sync::Mutex",
            "a: std::thread",
            "a: rustix::event",
            "a: std::thread::park",
            "a: std::sync::atomic::fence"
        ]
    );
}

/// Items of the operating system that modules of the runtime use without `platform`.
fn past_the_platform(modules: &Modules) -> Vec<String> {
    let named = modules.paths().map(|(module, path)| (module.join("::"), path.join("::")));
    let is_system = |path: &str| ["std::os", "rustix", "libc"].iter().any(|name| path.starts_with(name));
    let found = named.filter(|(module, path)| {
        module != "sync" && module.split("::").next() != Some("platform") && is_system(path)
    });
    found.map(|(module, path)| format!("{module}: {path}")).collect()
}

#[test]
fn the_runtime_names_the_operating_system_in_one_place() {
    let found = past_the_platform(&Modules::of("runtime/src"));
    assert!(found.is_empty(), "take these from `crate::platform`:\n{}", found.join("\n"));
    let text = "use std::os::fd::OwnedFd; use std::io; fn f() { rustix::io::read(a, b); }";
    let texts = [("", ""), ("sync", text), ("platform::poll", text), ("device", text)];
    let found = past_the_platform(&Modules::of_texts(&texts));
    assert_eq!(found, ["device: std::os::fd::OwnedFd", "device: rustix::io::read"]);
}

#[test]
fn arrows_lead_to_where_a_thing_is_defined() {
    let modules = Modules::of_texts(&[
        ("", "mod a; mod b; mod c; pub use b::Deep;"),
        (
            "a",
            "use crate::b::{self, Other as Renamed}; fn f() { log!(\"{}\", super::c::ONE); b::inner::f(); }",
        ),
        ("b", "pub mod inner; mod tests; pub use inner::Deep; pub struct Other;"),
        (
            "b::inner",
            "pub struct Deep; #[cfg(test)] use crate::c; impl crate::a::A { #[cfg(test)] fn g() { crate::c::f() } }",
        ),
        (
            "c",
            "pub const ONE: u8 = 1; mod inline { use super::ONE; fn f(_: crate::Deep) { super::super::a::f() } }",
        ),
    ]);
    let arrows: Vec<String> =
        modules.arrows().iter().map(|(from, to)| format!("{} {}", from.join("::"), to.join("::"))).collect();
    assert_eq!(arrows, ["a b", "a b::inner", "a c", "b::inner a", "c a", "c b::inner"]);
    assert_eq!(modules.extending(&["a"], "A"), [&["b".to_string(), "inner".to_string()]]);
}

#[test]
fn a_macro_makes_arrows_where_it_is_called() {
    let modules = Modules::of_texts(&[
        ("", ""),
        (
            "list",
            "macro_rules! list { ($then:ident) => { $then!(a: $crate::a::A) } } macro_rules! own { () => {} } list!(own);",
        ),
        ("a", "pub struct A; use crate::list;"),
        ("above", "use crate::list::list; macro_rules! rooms { ($a:ident: $of:ty) => {} } list!(rooms);"),
    ]);
    let arrows: Vec<String> =
        modules.arrows().iter().map(|(from, to)| format!("{} {}", from.join("::"), to.join("::"))).collect();
    assert_eq!(arrows, ["a list", "above a", "above list"]);
}

#[test]
fn circles_are_found_whole() {
    let mut graph = Graph::default();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("d", "e"), ("e", "d"), ("f", "f")] {
        graph.add(from.to_string(), to.to_string());
    }
    assert_eq!(graph.circles(), [BTreeSet::from(["b", "c"]), BTreeSet::from(["d", "e"])]);
}

#[test]
fn an_arrow_that_a_longer_way_stands_for_is_left_out() {
    let mut graph = Graph::default();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"), ("a", "c"), ("a", "e"), ("e", "d")] {
        graph.add(from.to_string(), to.to_string());
    }
    assert_eq!(graph.reduced(), [("a", "b"), ("a", "e"), ("b", "c"), ("c", "d"), ("e", "d")]);
}
