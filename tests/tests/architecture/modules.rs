//! The modules of a crate, parsed from its sources: the paths that each names, and the types that
//! it defines.

use std::collections::BTreeMap;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use portolan_tests::sources::{read, root};

/// A module's path in its crate: `["tcp", "seq"]`. The path of the crate's root is empty.
pub(crate) type ModulePath = Vec<String>;

/// The modules of one crate that have their own files, except those that are only compiled for
/// tests. A module in braces counts as a part of its file.
pub(crate) struct Modules(BTreeMap<ModulePath, Source>);

/// One file.
#[derive(Default)]
struct Source {
    /// Its imports, each with a name.
    imports: Vec<Import>,
    /// The other paths in it, including those in macros.
    paths: Vec<Vec<String>>,
    /// Paths of its macros that begin with `$crate`, each with the name of its macro: what they
    /// name, the files use that call the macro.
    paths_of_macros: Vec<(String, Vec<String>)>,
    /// The macros that it calls by a name alone.
    calls: Vec<String>,
    /// The types that it defines.
    types: Vec<String>,
    /// The types for which it has an inherent `impl`.
    extends: Vec<Vec<String>>,
    /// Its submodules that have files.
    children: Vec<String>,
}

impl Source {
    fn parse(text: &str) -> syn::Result<Source> {
        let mut reader = Reader::default();
        reader.visit_file(&syn::parse_file(text)?);
        Ok(reader.source)
    }
}

struct Import {
    path: Vec<String>,
    name: String,
    /// Whether others may use it through this module.
    is_reexport: bool,
}

impl Modules {
    /// Reads the library in this folder, for instance `stack/src`.
    pub(crate) fn of(dir: &str) -> Modules {
        let mut modules = Modules(BTreeMap::new());
        let dir = root().join(dir);
        modules.read(&dir, &dir.join("lib.rs"), Vec::new());
        modules
    }

    /// Makes a crate whose modules have these texts, for tests.
    pub(crate) fn of_texts(texts: &[(&str, &str)]) -> Modules {
        let path =
            |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_string).collect();
        Modules(texts.iter().map(|(name, text)| (path(name), Source::parse(text).unwrap())).collect())
    }

    /// Reads a module's file, and those of its submodules in `dir`.
    fn read(&mut self, dir: &Path, file: &Path, path: ModulePath) {
        let source = Source::parse(&read(file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for child in &source.children {
            let dir = dir.join(child);
            let file = dir.with_extension("rs");
            let file = if file.exists() { file } else { dir.join("mod.rs") };
            self.read(&dir, &file, [&path[..], std::slice::from_ref(child)].concat());
        }
        self.0.insert(path, source);
    }

    /// All pairs of modules of which the first uses something that the second defines. The use of a
    /// re-export counts for the module that uses it, and not for the module that re-exports.
    pub(crate) fn arrows(&self) -> Vec<(&ModulePath, &ModulePath)> {
        let mut arrows = Vec::new();
        for (module, source) in &self.0 {
            let imports =
                source.imports.iter().filter(|import| !import.is_reexport).map(|import| &import.path);
            let others = self.0.iter().filter(|(other, _)| *other != module);
            let in_macros = others.flat_map(|(_, other)| &other.paths_of_macros);
            let in_macros = in_macros.filter(|(name, _)| source.calls.contains(name)).map(|(_, path)| path);
            let paths = imports.chain(&source.paths).chain(in_macros);
            let targets = paths.filter_map(|path| self.resolve(module, path));
            arrows.extend(targets.filter(|target| *target != module).map(|target| (module, target)));
        }
        arrows.sort();
        arrows.dedup();
        arrows
    }

    /// The modules that have an inherent `impl` for this type, including the one that defines it.
    pub(crate) fn extending(&self, owner: &[&str], name: &str) -> Vec<&ModulePath> {
        let is_it = |module: &ModulePath, path: &Vec<String>| {
            path.last().is_some_and(|last| last == name)
                && self.resolve(module, path).unwrap_or(module) == owner
        };
        let modules = self.0.iter();
        let extending =
            modules.filter(|(module, source)| source.extends.iter().any(|path| is_it(module, path)));
        extending.map(|(module, _)| module).collect()
    }

    /// The modules that stand in no other.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter(|path| path.len() == 1).map(|path| &path[0][..])
    }

    /// Each type, and the module that defines it.
    pub(crate) fn types(&self) -> impl Iterator<Item = (&str, &ModulePath)> {
        self.0.iter().flat_map(|(module, source)| source.types.iter().map(move |name| (&name[..], module)))
    }

    /// Every path that a module names, imports included.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&ModulePath, &[String])> {
        self.0.iter().flat_map(|(module, source)| {
            let imports = source.imports.iter().map(|import| &import.path);
            let in_macros = source.paths_of_macros.iter().map(|(_, path)| path);
            imports.chain(&source.paths).chain(in_macros).map(move |path| (module, &path[..]))
        })
    }

    /// The module that defines what `path` means in `module`. `None` if it belongs to another
    /// crate, or is not a module's.
    fn resolve<'a>(&'a self, module: &[String], path: &[String]) -> Option<&'a ModulePath> {
        let (first, rest) = path.split_first()?;
        let (mut at, mut rest) = match &first[..] {
            "crate" => (&[][..], rest),
            "self" => (module, rest),
            "super" => (parent(module), rest),
            name => {
                let source = &self.0[module];
                // A single name is a value, because no expression and no type is a module.
                if !rest.is_empty() && source.children.iter().any(|child| child == name) {
                    (module, path)
                } else {
                    let import = source.imports.iter().find(|import| import.name == name)?;
                    let path = [&import.path[..], rest].concat();
                    // `use bytes::{self}` names itself.
                    return if import.path[0] == *name { None } else { self.resolve(module, &path) };
                }
            }
        };
        while let Some(("super", tail)) = rest.split_first().map(|(first, tail)| (&first[..], tail)) {
            (at, rest) = (parent(at), tail);
        }
        let mut at = at.to_vec();
        while let Some((name, tail)) = rest.split_first() {
            let child = [&at[..], std::slice::from_ref(name)].concat();
            if !self.0.contains_key(&child) {
                break;
            }
            (at, rest) = (child, tail);
        }
        let (at, source) = self.0.get_key_value(&at)?;
        let import = rest.first().and_then(|name| source.imports.iter().find(|import| import.name == *name));
        let through = import.and_then(|import| self.resolve(at, &[&import.path[..], &rest[1..]].concat()));
        Some(through.unwrap_or(at))
    }
}

fn parent(module: &[String]) -> &[String] {
    module.split_last().map_or(&[], |(_, parent)| parent)
}

#[derive(Default)]
struct Reader {
    source: Source,
    /// The number of modules in braces around the current position.
    depth: usize,
    /// The macro whose definition is being read.
    defining: Option<String>,
}

impl Reader {
    /// Stores a path as it reads in the file's module: `super` in a module in braces may be that
    /// module.
    fn note_path(&mut self, mut path: Vec<String>) {
        let supers = path.iter().take_while(|name| *name == "super").count();
        path.drain(..supers.min(self.depth));
        if supers > 0 && supers <= self.depth {
            path.insert(0, "self".to_string());
        }
        if self.depth == 0 || supers > 0 || path[0] == "crate" {
            self.source.paths.push(path);
        }
    }

    fn note_tree(&mut self, tree: &syn::UseTree, mut path: Vec<String>, is_reexport: bool) {
        let mut add = |path: Vec<String>, name: String| match self.depth {
            0 => self.source.imports.push(Import { path, name, is_reexport }),
            _ => self.note_path(path),
        };
        match tree {
            syn::UseTree::Path(node) => {
                path.push(node.ident.to_string());
                self.note_tree(&node.tree, path, is_reexport);
            }
            syn::UseTree::Name(node) if node.ident == "self" => {
                let name = path.last().expect("`self` stands in braces").clone();
                add(path, name);
            }
            syn::UseTree::Name(node) => {
                path.push(node.ident.to_string());
                add(path, node.ident.to_string());
            }
            syn::UseTree::Rename(node) => {
                path.push(node.ident.to_string());
                add(path, node.rename.to_string());
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_tree(tree, path.clone(), is_reexport));
            }
            syn::UseTree::Glob(_) => {
                panic!("{}::*: this test cannot tell what that imports", path.join("::"))
            }
        }
    }

    /// Stores the paths in the tokens of a macro call.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut is_after_dollar = false;
        for token in tokens {
            let is_dollar = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '$');
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.note_path_in_tokens(&mut path);
                    }
                    path.push(if is_after_dollar { format!("${name}") } else { name.to_string() });
                }
                TokenTree::Group(group) => {
                    self.note_path_in_tokens(&mut path);
                    self.note_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.note_path_in_tokens(&mut path),
            }
            colons = 0;
            is_after_dollar = is_dollar;
        }
        self.note_path_in_tokens(&mut path);
    }

    fn note_path_in_tokens(&mut self, path: &mut Vec<String>) {
        let is_of_macro = path.first().is_some_and(|first| first == "$crate");
        if is_of_macro && let Some(name) = &self.defining {
            path[0] = "crate".to_string();
            self.source.paths_of_macros.push((name.clone(), std::mem::take(path)));
        // A single name may be a variable.
        } else if path.len() > 1 {
            self.note_path(std::mem::take(path));
        }
        path.clear();
    }

    fn note_type(&mut self, name: &syn::Ident) {
        self.source.types.push(name.to_string());
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Const(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_for_tests(attributes) {
            return;
        }
        match item {
            syn::Item::Enum(item) => self.note_type(&item.ident),
            syn::Item::Struct(item) => self.note_type(&item.ident),
            syn::Item::Trait(item) => self.note_type(&item.ident),
            syn::Item::Type(item) => self.note_type(&item.ident),
            syn::Item::Union(item) => self.note_type(&item.ident),
            syn::Item::Impl(item) if item.trait_.is_none() => {
                if let syn::Type::Path(of) = &*item.self_ty {
                    self.source.extends.push(names_of(&of.path));
                }
            }
            syn::Item::Mod(item) if item.content.is_none() => {
                self.source.children.push(item.ident.to_string())
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.depth += 1;
        visit::visit_item_mod(self, item);
        self.depth -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_reexport = !matches!(item.vis, syn::Visibility::Inherited);
        self.note_tree(&item.tree, Vec::new(), is_reexport);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note_path(names_of(path));
        visit::visit_path(self, path);
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        self.defining = item.ident.as_ref().map(ToString::to_string);
        visit::visit_item_macro(self, item);
        self.defining = None;
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.source.calls.extend(call.path.get_ident().map(ToString::to_string));
        self.note_tokens(call.tokens.clone());
    }

    // Visibility is not use.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    // Attributes are not code.
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

fn names_of(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// Whether an item is compiled for tests only: `cfg(test)`, or `cfg(all(test, ...))`.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                let condition = list.tokens.to_string();
                condition == "test" || condition.starts_with("all (test")
            })
    })
}
