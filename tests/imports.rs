//! The imports draw the house: no circle anywhere, and among the actors a parent imports its children, never a child its
//! parent or a sibling.
//!
//! A module is a file; a folder's `mod.rs` is the folder. Tests are left out. What a module hands on with `pub use` counts
//! where it comes from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, spanned::Spanned, visit::Visit};

/// Which actor owns which; a module may import the actors below it.
const OWNERS: [(&str, &[&str]); 5] = [
    ("main_gateway", &["manager"]),
    ("manager", &["bridge", "call"]),
    ("call", &["gateway", "dave", "listener", "speaker", "transport"]),
    ("gateway", &["heartbeat"]),
    ("speaker", &["source"]),
];

#[test]
fn the_imports_form_no_circle() {
    let circles: Vec<String> = HOUSES.iter().flat_map(|house| House::read(house).circles()).collect();
    assert!(circles.is_empty(), "\n{}", circles.join("\n"));
}

#[test]
fn an_actor_imports_only_the_actors_that_it_owns() {
    let house = House::read(&HOUSES[0]);
    let strays: Vec<String> =
        house.imports.iter().filter(|import| import.leaves_the_tree()).map(told).collect();
    assert!(strays.is_empty(), "\n{}", strays.join("\n"));
}

/// Folders of one crate, each with the module path that it stands for.
type Folders = &'static [(&'static str, &'static [&'static str])];

const HOUSES: [Folders; 3] =
    [&[("src", &[]), ("actors", &["actors"])], &[("loopback/src", &[])], &[("cli/src", &[])]];

type Module = Vec<String>;

struct House {
    imports: Vec<Import>,
}

struct Import {
    from: Module,
    to: Module,
    file: PathBuf,
    line: usize,
}

impl House {
    fn read(folders: &Folders) -> Self {
        let mut files = BTreeMap::new();
        for (folder, module) in folders.iter() {
            let module = module.iter().map(|&name| name.to_owned()).collect();
            find(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), module, &mut files);
        }
        let sources: BTreeMap<Module, Source> =
            files.iter().map(|(module, file)| (module.clone(), Source::read(module, file))).collect();
        let hands_on = |module: &Module, name: &String| {
            let used = sources.get(module)?.handed_on.iter().find(|path| path.last() == Some(name))?;
            let (home, _) = home_of(used, &sources)?;
            (home != *module).then_some(home)
        };
        let mut imports = Vec::new();
        for (from, source) in &sources {
            for (path, line) in &source.paths {
                let Some((mut to, name)) = home_of(path, &sources) else { continue };
                if let Some(home) = name.and_then(|name| hands_on(&to, &name)) {
                    to = home;
                }
                // A module knows what encloses it, and the crate's root hands on what everybody may see.
                if !from.starts_with(&to) {
                    imports.push(Import { from: from.clone(), to, file: files[from].clone(), line: *line });
                }
            }
        }
        Self { imports }
    }

    /// Each import that can be followed back to where it stands.
    fn circles(&self) -> Vec<String> {
        let closes = |import: &&Import| self.reach(&import.to).contains(&import.from);
        self.imports.iter().filter(closes).map(told).collect()
    }

    fn reach<'a>(&'a self, from: &'a Module) -> BTreeSet<&'a Module> {
        let (mut reached, mut next) = (BTreeSet::from([from]), vec![from]);
        while let Some(module) = next.pop() {
            let further =
                self.imports.iter().filter(|import| import.from == *module).map(|import| &import.to);
            next.extend(further.filter(|module| reached.insert(module)));
        }
        reached
    }
}

impl Import {
    fn leaves_the_tree(&self) -> bool {
        match (actor_of(&self.from), actor_of(&self.to)) {
            (Some(from), Some(to)) => from != to && !owned(from).contains(to),
            _ => false,
        }
    }
}

/// The actor whose file or folder a module belongs to.
fn actor_of(module: &Module) -> Option<&str> {
    let name = module.first().filter(|first| *first == "actors").and(module.get(1))?;
    let known = |owner: &(&str, &[&str])| owner.0 == name || owner.1.contains(&name.as_str());
    OWNERS.iter().any(known).then_some(name.as_str())
}

/// All that an actor owns, directly or not.
fn owned(actor: &str) -> BTreeSet<&'static str> {
    let children =
        OWNERS.iter().find(|(owner, _)| *owner == actor).map_or(&[][..], |(_, children)| *children);
    children.iter().flat_map(|child| owned(child).into_iter().chain([*child])).collect()
}

fn told(import: &Import) -> String {
    let Import { from, to, file, line } = import;
    format!("{}:{line}: {} imports {}", file.display(), from.join("::"), to.join("::"))
}

/// All files of a folder, by module.
fn find(folder: &Path, module: Module, files: &mut BTreeMap<Module, PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if name.ends_with("tests") {
            continue;
        }
        let inner: Module = module.iter().cloned().chain([name.clone()]).collect();
        if path.is_dir() {
            find(&path, inner, files);
        } else if matches!(name.as_str(), "mod" | "lib" | "main") {
            files.insert(module.clone(), path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.insert(inner, path);
        }
    }
}

/// The module that a path leads to, and the name in it.
fn home_of(path: &Module, sources: &BTreeMap<Module, Source>) -> Option<(Module, Option<String>)> {
    let length = (0..=path.len()).rev().find(|length| sources.contains_key(&path[..*length]))?;
    Some((path[..length].to_vec(), path.get(length).cloned()))
}

/// What one file says of others, as paths from the root of its crate.
struct Source {
    module: Module,
    paths: Vec<(Module, usize)>,
    handed_on: Vec<Module>,
}

impl Source {
    fn read(module: &Module, file: &Path) -> Self {
        let text = fs::read_to_string(file).expect("the file can be read");
        let mut source = Self { module: module.clone(), paths: Vec::new(), handed_on: Vec::new() };
        source.visit_file(&syn::parse_file(&text).expect("the file compiles"));
        source
    }

    /// The path from the root, if it stays within the crate.
    fn absolute(&self, path: &[String]) -> Option<Module> {
        let supers = path.iter().take_while(|name| *name == "super").count();
        match path.first()?.as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&self.module, &path[1..]].concat()),
            "super" => {
                let kept = self.module.len().checked_sub(supers)?;
                Some([&self.module[..kept], &path[supers..]].concat())
            }
            _ => None,
        }
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(ItemMod { attrs, .. }) | Item::Use(ItemUse { attrs, .. }) => attrs.as_slice(),
            _ => &[],
        };
        if !attributes.iter().any(is_for_tests) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut leaves = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut leaves);
        for (path, line) in leaves {
            let Some(path) = self.absolute(&path) else { continue };
            if !matches!(item.vis, syn::Visibility::Inherited) {
                self.handed_on.push(path.clone());
            }
            self.paths.push((path, line));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(path_from_root) = self.absolute(&names).filter(|_| names.len() > 1) {
            self.paths.push((path_from_root, path.span().start().line));
        }
        syn::visit::visit_path(self, path);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, syn::Meta::List(list) if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
}

fn flatten(tree: &UseTree, before: &mut Module, leaves: &mut Vec<(Module, usize)>) {
    let line = tree.span().start().line;
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, leaves);
            before.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, before, leaves)),
        UseTree::Name(name) if name.ident == "self" => leaves.push((before.clone(), line)),
        UseTree::Name(name) => leaves.push(([before.as_slice(), &[name.ident.to_string()]].concat(), line)),
        UseTree::Rename(name) => leaves.push(([before.as_slice(), &[name.ident.to_string()]].concat(), line)),
        UseTree::Glob(_) => leaves.push((before.clone(), line)),
    }
}
