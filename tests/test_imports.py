"""The import graph of src: no circle, nothing upward, and one class for each name."""

import ast
from collections import Counter
from pathlib import Path

SRC = Path(__file__).resolve().parents[1] / "src"

# Packages and modules of epsam from the ground up: each may import its own floor and those below.
FLOORS = (
    ("metrics", "tables", "core", "methods"),
    ("config",),
    ("paths", "recipes", "pipeline", "stage_files"),
    ("data",),
    ("wsi", "annotations"),
    ("weak", "mil", "wsss_tissue", "segment", "pseudo_labels", "corrections"),
    ("cam",),
    ("engine",),
    ("extraction", "fetch", "volumes", "pictures"),
    ("training",),
    ("evaluation",),
    ("inference",),
    ("ablation", "report", "preflight", "view", "export", "api"),
)


def parse_modules():
    """{dotted name: (tree, whether it is a package)} of all modules of src."""
    modules = {}
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        modules[name] = ast.parse(path.read_text("utf-8")), is_package
    return modules


MODULES = parse_modules()


def imports_of(name):
    """The modules of src that a module imports, at its top or inside of a function."""
    tree, is_package = MODULES[name]
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".")[: None if is_package else -1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base]).rstrip(".")
            for alias in node.names:
                # `from package import module` imports the module, `from module import name` not.
                submodule = f"{base}.{alias.name}"
                imported.add(submodule if submodule in MODULES else base)
    return imported & MODULES.keys()


def floor_of(module):
    room = module.split(".")[1]
    for floor, rooms in enumerate(FLOORS):
        if room in rooms:
            return floor
    raise AssertionError(f"{module}: no floor for {room}; add it to FLOORS")


def in_epsam(module):
    return module.startswith("epsam.")


def test_no_module_of_epsam_imports_upward():
    upward = []
    for module in filter(in_epsam, MODULES):
        for imported in filter(in_epsam, imports_of(module)):
            if floor_of(imported) > floor_of(module):
                upward.append(f"{module} -> {imported}")
    assert upward == []


def test_epsam_imports_neither_the_demo_nor_a_script():
    outside = []
    for module in MODULES:
        if module == "epsam" or in_epsam(module):
            outside += [f"{module} -> {name}" for name in imports_of(module) if name[:5] != "epsam"]
    assert outside == []


def test_no_module_imports_itself_over_others():
    graph = {module: imports_of(module) for module in MODULES}
    # Take away what imports nothing that is left, again and again: a circle remains.
    while removable := [
        module for module, imported in graph.items() if not imported & graph.keys()
    ]:
        for module in removable:
            del graph[module]
    assert sorted(graph) == []


def test_the_graph_sees_imports_of_every_form():
    assert "epsam.core.files" in imports_of("epsam.core.checkpoints")
    # Inside of functions, as methods are looked up there, and of a module by name.
    assert len(imports_of("epsam.config.command_line")) >= 5
    assert sum(len(imports_of(module)) for module in MODULES) > 300


def test_no_two_classes_have_one_name():
    names = Counter()
    for tree, _ in MODULES.values():
        names.update(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []
