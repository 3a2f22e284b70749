"""Prints all fields of all objects in Stripe's own library, for the tests of privacy.

stripe_fields.py                the fields of the installed version
stripe_fields.py --but FILE     those of them that are not in FILE, the output for another version

An object begins at the margin. The content of a field is indented below it, `[]` marks a list and `*` stands for any
name. A field ends with its type:

    text, decimal      `str`, `Decimal`, which Stripe writes as a text
    number, integer    `float`, `int`
    boolean
    enum               `Literal`, alone or with `str`: a word defined by Stripe
    reference          `ExpandableField`: the ID of an object, or the object
    object KIND        an object that is listed at the margin
    list KIND          a list of these
    any                anything

The annotations are read as source text: they name classes that are imported for type checkers only.
"""

import ast
import functools
import importlib.util
import pathlib
import sys
from typing import NamedTuple

import stripe
from stripe._object_classes import OBJECT_CLASSES

# An event and the result of a search are in no event; `file_upload` was the name of `file`.
NEVER_IN_AN_EVENT = {"event", "file_upload", "search_result"}

SCALARS = {
    "str": "text",
    "Decimal": "decimal",
    "float": "number",
    "int": "integer",
    "bool": "boolean",
    "Any": "any",
}


# What classes inherit from, beside `…APIResource`. Fields that they inherit are not looked for.
WITHOUT_FIELDS = {"Generic", "StripeObject", "VerifyMixin"}


class Module(NamedTuple):
    name: str
    classes: dict
    imports: dict


class Class(NamedTuple):
    module: Module
    outer: tuple
    node: ast.ClassDef


@functools.cache
def module(name):
    tree = ast.parse(pathlib.Path(importlib.util.find_spec(name).origin).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imports = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return Module(name, classes, imports)


def find(name, module_, scopes):
    """The class that a name in these scopes stands for."""
    for depth in range(len(scopes), 0, -1):
        for node in scopes[depth - 1].body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return Class(module_, scopes[:depth], node)
    if name in module_.classes:
        return Class(module_, (), module_.classes[name])
    return find(module_.imports[name][1], module(module_.imports[name][0]), ())


def objects():
    """The kinds of objects, each with its class."""
    for kind, place in OBJECT_CLASSES.items():
        module_name, name = place if isinstance(place, tuple) else (place.__module__, place.__name__)
        if kind not in NEVER_IN_AN_EVENT:
            yield kind, Class(module(module_name), (), module(module_name).classes[name])


KINDS = {(class_.module.name, class_.node.name): kind for kind, class_ in reversed(list(objects()))}


def fields(class_):
    """The fields of a class as a tree: a type or, in a dict, the fields below, by name."""
    inherited = {ast.unparse(base).split("[")[0] for base in class_.node.bases} - WITHOUT_FIELDS
    if any(not base.endswith("APIResource") for base in inherited):
        raise ValueError(f"{class_.module.name}.{class_.node.name} inherits from {inherited}")
    scopes = (*class_.outer, class_.node)
    renamed = {}
    tree = {}
    for node in class_.node.body:
        # `in` is `in_` in Python.
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_field_remappings":
            renamed = ast.literal_eval(node.value)
    for node in class_.node.body:
        if not isinstance(node, ast.AnnAssign) or node.target.id.startswith("_"):
            continue
        if isinstance(node.annotation, ast.Subscript) and ast.unparse(node.annotation.value) == "ClassVar":
            continue
        name = renamed.get(node.target.id, node.target.id)
        for suffix, what in annotated(node.annotation, class_.module, scopes):
            tree.setdefault(name + suffix, []).append(what)
    return tree


def annotated(annotation, module_, scopes):
    """What an annotation allows: a type or fields, each with the marks that its name gets."""
    again = functools.partial(annotated, module_=module_, scopes=scopes)
    match annotation:
        case ast.Constant(value=None):
            pass
        case ast.Constant(value=str(text)):
            yield from again(ast.parse(text, mode="eval").body)
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            yield from again(inner)
        case ast.Subscript(value=ast.Name(id="List"), slice=inner):
            yield from (("[]" + suffix, what) for suffix, what in again(inner))
        case ast.Subscript(value=ast.Name(id="Dict"), slice=ast.Tuple(elts=[_, inner])):
            yield from (("", {"*" + suffix: [what]}) for suffix, what in again(inner))
        case ast.Subscript(value=ast.Name(id="UntypedStripeObject"), slice=inner):
            yield from (("", {"*" + suffix: [what]}) for suffix, what in again(inner))
        case ast.Subscript(value=ast.Name(id="ListObject"), slice=inner):
            for _, what in again(inner):
                yield "", str(what).replace("object ", "list ")
        case ast.Subscript(value=ast.Name(id="ExpandableField")):
            yield "", "reference"
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            yield "", "enum" if isinstance(values[0].value, str) else "boolean"
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=choices)):
            allowed = [what for choice in choices for what in again(choice)]
            # A word that a later version of the API may add.
            yield from [("", "enum")] if ("", "enum") in allowed else allowed
        case ast.Name(id="T"):
            pass  # What a list has is listed where the list stands.
        case ast.Name(id=name) if name in SCALARS:
            yield "", SCALARS[name]
        case ast.Name(id=name):
            class_ = find(name, module_, scopes)
            kind = KINDS.get((class_.module.name, name_of(class_)))
            yield "", f"object {kind}" if kind else fields(class_)
        case _:
            raise ValueError(f"{module_.name}: {ast.unparse(annotation)}")


def name_of(class_):
    return class_.node.name if not class_.outer else None


def lines(tree, depth):
    indent = "  " * depth
    for name in sorted(tree):
        types = sorted({what for what in tree[name] if isinstance(what, str)})
        below = [what for what in tree[name] if isinstance(what, dict)]
        if types:
            yield f"{indent}{name} {' or '.join(types)}"
        if below:
            merged = {}
            for fields_ in below:
                for inner, what in fields_.items():
                    merged.setdefault(inner, []).extend(what)
            yield f"{indent}{name}"
            yield from lines(merged, depth + 1)


def paths(text):
    """Each line of a tree with the path to it."""
    above = []
    for line in text:
        depth = (len(line) - len(line.lstrip())) // 2
        above = [*above[:depth], line.strip()]
        yield tuple(above), line


def main():
    library = f"# stripe {getattr(stripe, 'VERSION', None) or stripe.version.VERSION}, Stripe's API {stripe.api_version}"
    text = []
    for kind, class_ in sorted(objects(), key=lambda each: each[0]):
        text.append(kind)
        text.extend(lines(fields(class_), 1))
    if sys.argv[1:2] == ["--but"]:
        with open(sys.argv[2], encoding="utf-8") as file:
            known = {path for path, _ in paths(file.read().splitlines())}
        new = [path for path, _ in paths(text) if path not in known]
        needed = {path[:depth] for path in new for depth in range(1, len(path) + 1)}
        text = [line for path, line in paths(text) if path in needed]
        library += f", less what {sys.argv[2].rsplit('/', 1)[-1]} has"
    print(library, *text, sep="\n")


if __name__ == "__main__":
    main()
