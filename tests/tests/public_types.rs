//! The promises of a version: public types can grow, or have a reason why not, and none belongs to
//! another package whose next version would break ours.

use std::collections::BTreeSet;

use portolan_tests::sources::{files_under, read, relative};
use syn::visit::{self, Visit};

const LIBRARIES: [&str; 3] = ["stack/src", "runtime/src", "tap-driver/src"];

/// Files without a promise: tests, and items for tests (`portolan::testing` says so).
const NO_PROMISE: [&str; 3] = ["/tests/", "/tests.rs", "/testing"];

/// The packages whose types may be in a signature: our own, and bytes and tokio, which are at
/// version 1.
const KNOWN: [&str; 10] =
    ["std", "core", "alloc", "crate", "super", "self", "bytes", "tokio", "portolan", "portolan_runtime"];

/// The lint `unreachable_pub` makes sure that everything `pub` is public.
#[test]
fn public_types_can_grow_or_say_why_not() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, source) in sources() {
        let reader = Reader::of(&source);
        count += reader.types.len();
        let open =
            reader.types.iter().filter(|public| !public.can_grow && !has_reason(&source, &public.name));
        wrong.extend(open.map(|public| format!("{path}: {}", public.name)));
    }
    assert!(count > 80, "only {count} public types");
    assert!(
        wrong.is_empty(),
        "neither #[non_exhaustive] nor `// Exhaustive: because...` above:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn public_signatures_hold_no_types_of_other_packages() {
    let mut wrong = Vec::new();
    for (path, source) in sources() {
        for (place, foreign) in Reader::of(&source).foreign {
            wrong.push(format!("{path}: {place} has {foreign}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn faults_are_found() {
    let source = "use rustix::event::{self, PollFlags as Flags}; use std::io;
        #[derive(Debug)] pub struct Open { pub flags: Flags, pub error: io::Error }
        pub struct Closed { flags: Flags }
        // Exhaustive: the RFC has two.
        pub enum Two { A, B }
        #[non_exhaustive] pub enum Many { A(event::PollFd) }
        pub(crate) enum Ours { A }
        impl Closed { pub fn a(&self) -> Option<Flags> { None } fn b(_: Flags) {} }
        pub trait Room { fn c(&self, _: rustix::io::Errno); }
        #[cfg(test)] pub enum Tested { A }";
    let reader = Reader::of(source);
    let open = reader.types.iter().filter(|public| !public.can_grow && !has_reason(source, &public.name));
    assert_eq!(open.map(|public| public.name.as_str()).collect::<Vec<_>>(), ["Open"]);
    let places: Vec<_> = reader.foreign.iter().map(|(place, _)| place.as_str()).collect();
    assert_eq!(places, ["Open", "Many", "a", "c"]);
}

fn sources() -> impl Iterator<Item = (String, String)> {
    let paths = LIBRARIES.into_iter().flat_map(|folder| files_under(folder, ".rs"));
    let paths = paths.map(|path| (relative(&path), read(&path)));
    let is_left_out = |path: &str| NO_PROMISE.iter().any(|part| path.contains(part));
    paths.filter(move |(path, _)| !is_left_out(path))
}

/// Whether `// Exhaustive: ` is among the comments and attributes above a type.
fn has_reason(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let defines = |line: &str| {
        ["pub struct ", "pub enum "].iter().any(|kind| {
            let rest = line.strip_prefix(kind).and_then(|rest| rest.strip_prefix(name));
            rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    };
    let Some(at) = lines.iter().position(|line| defines(line)) else { return false };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with("//") || line.starts_with("#["));
    above.into_iter().any(|line| line.starts_with("// Exhaustive: "))
}

/// A public struct or enum.
struct PublicType {
    name: String,
    /// Whether another field or variant would be a compatible change.
    can_grow: bool,
}

#[derive(Default)]
struct Reader {
    types: Vec<PublicType>,
    /// Public items, each with a type of another package in its signature.
    foreign: Vec<(String, String)>,
    /// The modules that the file declares.
    modules: BTreeSet<String>,
    /// Names that are imported from other packages.
    imported: BTreeSet<String>,
}

impl Reader {
    fn of(source: &str) -> Reader {
        let file = syn::parse_file(source).expect("it compiles");
        let mut reader = Reader::default();
        for item in &file.items {
            if let syn::Item::Mod(item) = item {
                reader.modules.insert(item.ident.to_string());
            }
        }
        for item in &file.items {
            if let syn::Item::Use(item) = item {
                reader.note_imports(&item.tree, None);
            }
        }
        reader.visit_file(&file);
        reader
    }

    fn note_imports(&mut self, tree: &syn::UseTree, package: Option<&str>) {
        let is_foreign =
            package.is_some_and(|package| !KNOWN.contains(&package) && !self.modules.contains(package));
        match tree {
            syn::UseTree::Path(path) => {
                let first = path.ident.to_string();
                if package.is_none() || !is_foreign {
                    return self.note_imports(&path.tree, Some(package.unwrap_or(&first)));
                }
                if let syn::UseTree::Group(group) = &*path.tree
                    && group
                        .items
                        .iter()
                        .any(|tree| matches!(tree, syn::UseTree::Name(name) if name.ident == "self"))
                {
                    self.imported.insert(first);
                }
                self.note_imports(&path.tree, package);
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_imports(tree, package));
            }
            syn::UseTree::Name(name) if is_foreign => {
                self.imported.insert(name.ident.to_string());
            }
            syn::UseTree::Rename(name) if is_foreign => {
                self.imported.insert(name.rename.to_string());
            }
            _ => {}
        }
    }

    fn note_foreign(&mut self, place: &syn::Ident, note: impl FnOnce(&mut FirstSegments)) {
        let mut found = FirstSegments::default();
        note(&mut found);
        let is_foreign = |(name, is_alone): &(String, bool)| {
            self.imported.contains(name) || (!is_alone && PACKAGES.contains(&name.as_str()))
        };
        if let Some((name, _)) = found.0.into_iter().find(is_foreign) {
            self.foreign.push((place.to_string(), name));
        }
    }

    fn note_fields(&mut self, place: &syn::Ident, fields: &syn::Fields, are_public: bool) {
        let public = fields.iter().filter(|field| are_public || is_public(&field.vis));
        self.note_foreign(place, |found| public.for_each(|field| found.visit_type(&field.ty)));
    }
}

/// The packages that the libraries depend on, and whose types must not be public.
const PACKAGES: [&str; 9] =
    ["hashbrown", "libc", "log", "pcap_file", "rand_chacha", "rustix", "smallvec", "smoltcp", "tun_tap"];

/// The first segments of the paths of types, and whether each is the whole path.
#[derive(Default)]
struct FirstSegments(Vec<(String, bool)>);

impl<'ast> Visit<'ast> for FirstSegments {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            self.0.push((first.ident.to_string(), path.segments.len() == 1));
        }
        visit::visit_path(self, path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        if is_public(&item.vis) && !is_for_tests(&item.attrs) {
            let has_private = item.fields.iter().any(|field| !is_public(&field.vis));
            let can_grow = has_private || item.fields.is_empty() || is_non_exhaustive(&item.attrs);
            self.types.push(PublicType { name: item.ident.to_string(), can_grow });
            self.note_fields(&item.ident, &item.fields, false);
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if is_public(&item.vis) && !is_for_tests(&item.attrs) {
            let can_grow = is_non_exhaustive(&item.attrs);
            self.types.push(PublicType { name: item.ident.to_string(), can_grow });
            item.variants.iter().for_each(|variant| self.note_fields(&item.ident, &variant.fields, true));
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_public(&item.vis) && !is_for_tests(&item.attrs) {
            self.note_foreign(&item.sig.ident, |found| found.visit_signature(&item.sig));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_public(&item.vis) && !is_for_tests(&item.attrs) {
            self.note_foreign(&item.sig.ident, |found| found.visit_signature(&item.sig));
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if is_public(&item.vis) {
            for part in &item.items {
                if let syn::TraitItem::Fn(part) = part {
                    self.note_foreign(&part.sig.ident, |found| found.visit_signature(&part.sig));
                }
            }
        }
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

fn is_non_exhaustive(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("non_exhaustive"))
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}
