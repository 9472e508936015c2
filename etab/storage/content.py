"""One sha256 for the content of a Python object: its code, the values it refers to, its weights.

Two objects have the same digest only if they compute the same thing, in this process or in another
one. No address, no ``repr`` and no bare name enters a digest. An object whose content cannot be
read (a C function of unknown origin, an open file, a lock) raises NamelessError, with the path to
the object.

The digest covers:

* functions: bytecode and constants, defaults, closure, the globals and modules that the code names;
* classes: every attribute of the class and of its bases; instances: their class and their
  attributes;
* torch modules: parameters, buffers (also those that are not saved), submodules, hooks, all other
  attributes;
* objects that installed distributions and the standard library define: their name and the version
  of the distribution.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import importlib.util
import inspect
import io
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from etab.errors import NamelessError
from etab.storage.content_torch import torch_digest
from etab.storage.releases import is_released_file, release_of

# The results of these builtins depend on files, time or text outside the code.
_UNREADABLE_BUILTINS = frozenset({"eval", "exec", "open", "input", "globals", "locals", "compile"})
_CLASS_BOOKKEEPING = frozenset(
    {
        "__annotations__",
        "__annotate__",
        "__annotate_func__",
        "__annotations_cache__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__qualname__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
    }
)
# Modules that load shared libraries: the path of a library is not its content.
_FOREIGN = frozenset({"ctypes", "_ctypes", "cffi.api", "_cffi_backend"})
_PLAIN = (type(None), type(Ellipsis), type(NotImplemented), bool, int, str, bytes, complex, float)


def content_digest(thing: object, *, opens_files: bool = False) -> str:
    """Digest the content of a Python object.

    Args:
        thing: Any object: a function, a class, a torch module, or plain data.
        opens_files: Whether its code may call ``open``, because a digest of its own covers the
            files. Without it, such code raises NamelessError.

    Returns:
        64 hexadecimal digits, the same for equal content in every process of one Python version.

    Raises:
        NamelessError: Some part of the content cannot be read.

    Example:
        >>> def scaled(factor):
        ...     return lambda x: x * factor
        >>> content_digest(scaled(2)) == content_digest(scaled(2))
        True
        >>> content_digest(scaled(2)) == content_digest(scaled(3))
        False
    """
    try:
        return _Reader(opens_files).digest(thing, _name_of(thing)).hex()
    except RecursionError as error:
        raise NamelessError(f"{_name_of(thing)} is nested too deeply to be read") from error


def _name_of(thing: object) -> str:
    name = getattr(thing, "__qualname__", None)
    return name if isinstance(name, str) else type(thing).__name__


def _resolves(module: str, name: str, thing: object) -> bool:
    """Whether a name in a module is this very object."""
    held: Any = sys.modules.get(module)
    for part in name.split("."):
        held = getattr(held, part, None)
    return held is thing


def _is_static(kind: type) -> bool:
    """Whether a class is defined in compiled code: it lacks Py_TPFLAGS_HEAPTYPE."""
    return not kind.__flags__ & (1 << 9)


def _codes(code: types.CodeType) -> list[types.CodeType]:
    """List a code object and the code of the functions, lambdas and comprehensions inside it."""
    codes = [code]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            codes += _codes(constant)
    return codes


class _Reader:
    """One walk over an object; ``path`` is the position of the walk, for messages."""

    def __init__(self, opens_files: bool) -> None:
        self._opens_files = opens_files
        self._done: dict[int, bytes] = {}
        # Depth of the objects whose digest is being computed, to recognise cycles.
        self._open: dict[int, int] = {}
        # An address identifies an object only while the object lives.
        self._alive: list[object] = []

    def digest(self, thing: Any, path: str) -> bytes:
        if isinstance(thing, _PLAIN) and type(thing) in _PLAIN:
            return self.mix("plain", type(thing).__name__, self._plain(thing))
        number = id(thing)
        if number in self._done:
            return self._done[number]
        if number in self._open:
            return self.mix("outer", str(len(self._open) - self._open[number]))
        self._open[number] = len(self._open)
        try:
            value = self._read(thing, path)
        finally:
            del self._open[number]
        self._done[number] = value
        self._alive.append(thing)
        return value

    @staticmethod
    def _plain(thing: Any) -> bytes:
        if isinstance(thing, bytes):
            return thing
        if isinstance(thing, str):
            return thing.encode("utf-8", "surrogatepass")
        return repr(thing).encode()

    @staticmethod
    def mix(*parts: str | bytes) -> bytes:
        total = hashlib.sha256()
        for part in parts:
            data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
            total.update(len(data).to_bytes(8, "little"))
            total.update(data)
        return total.digest()

    def _read(self, thing: Any, path: str) -> bytes:
        for kinds, read in self._readers():
            if isinstance(thing, kinds):
                return read(thing, path)
        of_torch = torch_digest(self, thing, path)
        if of_torch is not None:
            return of_torch
        return self._instance(thing, path)

    def _readers(self) -> tuple[tuple[Any, Callable[[Any, str], bytes]], ...]:
        return (
            (types.FunctionType, self._function),
            (types.CodeType, self._code),
            (types.MethodType, self._method),
            (types.BuiltinFunctionType, self._builtin),
            (types.ModuleType, lambda thing, path: self._module(thing, None, path)),
            (functools.partial, self._partial),
            (enum.Enum, self._member),
            (type, self._class),
            ((staticmethod, classmethod), lambda t, path: self._wrapped(t, t.__func__, path)),
            (property, self._property),
            (
                (types.MethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType),
                self._descriptor,
            ),
            ((types.MemberDescriptorType, types.GetSetDescriptorType), self._descriptor),
            (np.ndarray, self._array),
            (np.generic, lambda thing, path: self._array(np.asarray(thing), path)),
            (np.ufunc, lambda thing, path: self._released("numpy", thing.__name__, path)),
            (PurePath, lambda thing, _: self.mix("path", str(thing))),
        )

    def each(self, kind: str, things: Iterable[Any], path: str) -> bytes:
        parts = [self.digest(thing, f"{path}[{i}]") for i, thing in enumerate(things)]
        return self.mix(kind, *parts)

    def _unordered(self, things: Iterable[Any], path: str) -> bytes:
        readers = [(_Reader(self._opens_files), thing) for thing in things]
        return self.mix("set", *sorted(reader.digest(thing, path) for reader, thing in readers))

    def _mapping(self, things: Mapping[Any, Any], path: str) -> bytes:
        parts: list[bytes] = []
        for key, value in things.items():
            parts.append(self.digest(key, path))
            parts.append(self.digest(value, f"{path}[{key!r}]" if type(key) is str else path))
        return self.mix("mapping", *parts)

    def _released(self, module: str, name: str, path: str) -> bytes:
        release = release_of(module)
        if release is None:
            raise NamelessError(
                f"{path} is {name} of {module or 'no module'}, whose code cannot be read"
            )
        return self.mix("released", release, module, name)

    def _function(self, thing: types.FunctionType, path: str) -> bytes:
        original = getattr(thing, "_torchdynamo_orig_callable", None)
        if original is not None:
            return self._wrapped(thing, original, path)
        code = thing.__code__
        if not is_released_file(code.co_filename):
            return self._own_function(thing, path)
        module = str(thing.__module__)
        name = f"{Path(code.co_filename).stem}:{code.co_firstlineno}:{code.co_qualname}"
        release = release_of(module) or f"file {Path(code.co_filename).name}"
        known = self.mix("function", release, name)
        if _resolves(module, thing.__qualname__, thing):
            return known
        return self.mix("closed", known, self._bound(thing, path))

    def _own_function(self, thing: types.FunctionType, path: str) -> bytes:
        parts = [self.digest(thing.__code__, path), self._bound(thing, path)]
        for name in self._globals(thing.__code__):
            if name in thing.__globals__:
                held = thing.__globals__[name]
                names = frozenset(n for c in _codes(thing.__code__) for n in c.co_names)
                if isinstance(held, types.ModuleType):
                    value = self._module(held, names, f"{path}, global {name}")
                else:
                    value = self.digest(held, f"{path}, global {name}")
                parts += [name.encode(), value]
            elif name == "open" and self._opens_files:
                continue
            elif name in _UNREADABLE_BUILTINS:
                raise NamelessError(
                    f"{path} calls {name}(), whose result cannot be known from the code"
                )
        return self.mix("own function", *parts, *self._imports(thing, path))

    def _bound(self, thing: types.FunctionType, path: str) -> bytes:
        """Digest the defaults, the closure and the attributes of a function."""
        parts = [
            self.digest(thing.__defaults__, f"{path}, defaults"),
            self.digest(thing.__kwdefaults__, f"{path}, defaults"),
        ]
        for name, cell in zip(thing.__code__.co_freevars, thing.__closure__ or (), strict=True):
            try:
                held = cell.cell_contents
            except ValueError:  # the name is not bound yet
                parts += [name.encode(), b"empty"]
                continue
            if isinstance(held, types.ModuleType):
                names = frozenset(n for c in _codes(thing.__code__) for n in c.co_names)
                parts += [name.encode(), self._module(held, names, f"{path}, variable {name}")]
            else:
                parts += [name.encode(), self.digest(held, f"{path}, variable {name}")]
        more = {k: v for k, v in vars(thing).items() if k != "__wrapped__"}
        return self.mix("bound", *parts, self._mapping(more, path))

    @staticmethod
    def _globals(code: types.CodeType) -> list[str]:
        """List the names that code, and functions inside it, load from globals or builtins."""
        names: set[str] = set()
        for nested in _codes(code):
            for step in dis.get_instructions(nested):
                if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                    names.add(str(step.argval))
        return sorted(names)

    def _imports(self, thing: types.FunctionType, path: str) -> list[bytes]:
        """Digest the modules that a function imports when it runs."""
        parts: list[bytes] = []
        for code in _codes(thing.__code__):
            for step in dis.get_instructions(code):
                if step.opname == "IMPORT_NAME":
                    name = str(step.argval)
                    parts.append(self._imported(name, code, thing.__globals__, path))
        return parts

    def _imported(
        self, name: str, code: types.CodeType, namespace: Mapping[str, Any], path: str
    ) -> bytes:
        if release_of(name) is None and name not in sys.modules:
            try:
                spec = importlib.util.find_spec(name, namespace.get("__package__"))
            except (ImportError, ValueError):
                spec = None
            if spec is None or spec.origin is None or not Path(spec.origin).is_file():
                raise NamelessError(f"{path} imports {name!r}, which is not found")
            if not is_released_file(spec.origin):
                return self.mix("module file", Path(spec.origin).read_bytes())
            return self.mix("imported", name)
        module = sys.modules.get(name)
        if module is None:
            return self.mix("imported", name, release_of(name) or "")
        return self._module(module, frozenset(code.co_names), f"{path}, module {name}")

    def _code(self, code: types.CodeType, path: str) -> bytes:
        counts = (
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags,
        )
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        constants = [self._constant(c, path) for c in code.co_consts]
        shape = f"{sys.version_info[:2]} {counts} {names}"
        return self.mix("code", code.co_code, code.co_exceptiontable, shape, *constants)

    def _constant(self, constant: Any, path: str) -> bytes:
        if isinstance(constant, types.CodeType):
            return self._code(constant, path)
        if isinstance(constant, tuple):
            return self.mix("constants", *(self._constant(c, path) for c in constant))
        return self.digest(constant, path)

    def _method(self, thing: types.MethodType, path: str) -> bytes:
        return self.mix(
            "method",
            self.digest(thing.__func__, path),
            self.digest(thing.__self__, f"{path}, self"),
        )

    def _builtin(self, thing: Any, path: str) -> bytes:
        owner = thing.__self__
        if owner is None or isinstance(owner, types.ModuleType) or not hasattr(owner, "__class__"):
            return self._released(str(thing.__module__ or ""), thing.__qualname__, path)
        if type(owner).__name__ == "PyCapsule":  # functions of pybind11
            return self._released(str(thing.__module__ or ""), thing.__qualname__, path)
        return self.mix("bound builtin", thing.__name__, self.digest(owner, path))

    def _module(self, module: types.ModuleType, names: frozenset[str] | None, path: str) -> bytes:
        """Digest the attributes of a module that code names; with None, all attributes."""
        release = release_of(module.__name__)
        if id(module) in self._open or (release is not None and names is None):
            return self.mix("module", release or "", module.__name__)
        own = str(getattr(module, "__file__", ".py")).endswith(".py")
        used = {n for n in vars(module) if not n.startswith("__")} if names is None else names
        self._open[id(module)] = len(self._open)
        parts: list[bytes] = []
        try:
            for name in sorted(used & set(vars(module))):
                held = vars(module)[name]
                if release is None and not own:
                    self._refuse_compiled(held, f"{path}.{name}")
                parts += [name.encode(), self._used(held, name, names, release, f"{path}.{name}")]
        finally:
            del self._open[id(module)]
        return self.mix("module", release or "", module.__name__ if release else "", *parts)

    def _used(
        self, held: Any, name: str, names: frozenset[str] | None, release: str | None, path: str
    ) -> bytes:
        """Digest an attribute of a module.

        Data of a released module are not read: its version identifies them.
        """
        if isinstance(held, types.ModuleType):
            return self._module(held, names, path)
        followed = isinstance(held, (types.FunctionType, types.MethodType, type, *_PLAIN))
        if release is None or followed or release_of(type(held).__module__) is None:
            return self.digest(held, path)
        return self.mix("attribute", name, type(held).__qualname__)

    @staticmethod
    def _refuse_compiled(thing: object, path: str) -> None:
        if callable(thing) and not isinstance(thing, types.FunctionType | type):
            raise NamelessError(f"{path} is compiled code")

    def _partial(self, thing: functools.partial[Any], path: str) -> bytes:
        return self.mix(
            "partial",
            self.digest(thing.func, f"{path}, function"),
            self.each("arguments", thing.args, path),
            self._mapping(thing.keywords, path),
        )

    def _member(self, thing: enum.Enum, path: str) -> bytes:
        name = f"{type(thing).__qualname__}.{thing.name}"
        return self.mix("member", name, self.digest(thing.value, path))

    def _wrapped(self, thing: Any, inner: Any, path: str) -> bytes:
        return self.mix("wrapped", type(thing).__qualname__, self.digest(inner, path))

    def _property(self, thing: property, path: str) -> bytes:
        parts = [self.digest(f, path) for f in (thing.fget, thing.fset, thing.fdel)]
        return self.mix("property", *parts)

    def _descriptor(self, thing: Any, path: str) -> bytes:
        owner = getattr(thing, "__objclass__", None)
        if owner is None:  # a method of an instance, such as (1).__add__
            return self.mix("bound slot", thing.__name__, self.digest(thing.__self__, path))
        if release_of(owner.__module__) is None:  # a slot of the user's own class
            return self.mix("slot", owner.__qualname__, thing.__name__)
        return self._released(owner.__module__, f"{owner.__qualname__}.{thing.__name__}", path)

    def _class(self, thing: type, path: str) -> bytes:
        release = release_of(thing.__module__)
        if not _is_static(thing) and not _resolves(thing.__module__, thing.__qualname__, thing):
            # The class was made within a function or by exec: its name does not lead to it.
            release = None
        bases = [self.digest(base, path) for base in thing.__bases__ if base is not object]
        if type(thing) is not type:
            bases.append(self.digest(type(thing), f"{path}, metaclass"))
        if release is not None:
            changed = self._replaced(thing, path)
            return self.mix(
                "class", release, thing.__module__, thing.__qualname__, *bases, *changed
            )
        parts: list[bytes] = []
        for name in sorted(set(vars(thing)) - _CLASS_BOOKKEEPING):
            parts += [name.encode(), self.digest(vars(thing)[name], f"{path}.{name}")]
        return self.mix("own class", thing.__qualname__, *bases, *parts)

    def _replaced(self, thing: type, path: str) -> list[bytes]:
        """Digest the methods of a released class that differ from the released ones."""
        parts: list[bytes] = []
        for name, held in sorted(vars(thing).items()):
            function = getattr(held, "__func__", held)
            if not isinstance(function, types.FunctionType):
                continue
            own = f"{thing.__qualname__}.{name}" == function.__code__.co_qualname
            if not own or not is_released_file(function.__code__.co_filename):
                if function.__code__.co_filename == "<string>" and own:
                    continue  # generated, as by dataclasses
                parts += [name.encode(), self.digest(function, f"{path}.{name}")]
        return parts

    def _array(self, thing: np.ndarray[Any, Any], path: str) -> bytes:
        facts = f"{thing.dtype.descr if thing.dtype.names else thing.dtype.str} {thing.shape}"
        if thing.dtype.hasobject:
            return self.mix("array", facts, self.each("objects", thing.ravel().tolist(), path))
        return self.mix("array", facts, np.ascontiguousarray(thing).tobytes())

    def _instance(self, thing: Any, path: str) -> bytes:
        kind = type(thing)
        if kind in (list, tuple):
            return self.each(kind.__name__, thing, path)
        if kind in (set, frozenset):
            return self._unordered(thing, path)
        if kind in (dict, types.MappingProxyType):
            return self._mapping(thing, path)
        wrapped = getattr(thing, "__wrapped__", None)
        if wrapped is not None and kind.__module__ == "functools":  # lru_cache
            return self._wrapped(thing, wrapped, path)
        if release_of(kind.__module__) is not None:
            return self._reduced(thing, path)
        # A user's class may leave attributes out of its copies, although they affect its results.
        return self.mix("instance", self._own_state(thing, path), self._reduced(thing, path))

    def _own_state(self, thing: Any, path: str) -> bytes:
        held: dict[str, Any] = dict(sorted(getattr(thing, "__dict__", {}).items()))
        for kind in type(thing).__mro__:
            slots = vars(kind).get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if name not in ("__dict__", "__weakref__") and hasattr(thing, name):
                    held[name] = getattr(thing, name)
        parts: list[bytes] = []
        for name, value in held.items():
            parts += [name.encode(), self.digest(value, f"{path}.{name}")]
        return self.mix("state", *parts)

    def _reduced(self, thing: Any, path: str) -> bytes:
        """Digest an object by the parts from which it would be copied."""
        refusal = f"{path} is {type(thing).__module__}.{type(thing).__qualname__}"
        if any(base.__module__ in _FOREIGN for base in type(thing).__mro__):
            raise NamelessError(f"{refusal}, which calls compiled code of unknown content")
        if inspect.isgenerator(thing) or isinstance(thing, io.IOBase | types.FrameType):
            raise NamelessError(f"{refusal}, which changes as it is used")
        try:
            parts = thing.__reduce_ex__(4)
        except Exception as error:  # __reduce_ex__ may be any code
            raise NamelessError(f"{refusal}, whose content cannot be read") from error
        if isinstance(parts, str):
            return self._released(type(thing).__module__, parts, path)
        pieces = [list(p) if hasattr(p, "__next__") else p for p in parts]
        if any(piece is thing for piece in pieces):
            raise NamelessError(f"{refusal}, whose content cannot be read")
        return self.each("object", pieces, path)
